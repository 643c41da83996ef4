//! Activate and roll back: moving the pointer of a model, and looking at where it was.
//!
//! Promises: a pointer is only moved to a version whose entry is valid and whose artifacts are stored, and only
//! from the revision that was looked at. Of two who move it at once exactly one succeeds.

use inferbus_catalog_document::{Digest, ModelName, Pointer, Problems};
use std::time::SystemTime;

use crate::bucket::{Expect, Stored};
use crate::catalog::Catalog;
use crate::fault::CatalogFault;
use crate::limits;
use semver::Version;

#[derive(Clone, Copy, Debug, Default)]
pub struct Activate {
    /// The entry must have this digest, now and whenever a worker loads it: the pointer remembers it.
    pub digest: Option<Digest>,
    /// The pointer must still be at this revision; zero if there must be none.
    pub revision: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// What was active before, if anything valid was.
    pub from: Option<Pointer>,
    pub to: Pointer,
    /// The revision of the pointer now.
    pub revision: u64,
}

/// One revision of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    pub revision: u64,
    pub at: SystemTime,
    /// None where the pointer was deleted.
    pub pointer: Option<Result<Pointer, Problems>>,
}

impl Catalog {
    pub async fn activate(
        &self,
        name: &ModelName,
        version: &Version,
        wanted: Activate,
    ) -> Result<Activated, CatalogFault> {
        let to = Pointer { version: version.clone(), digest: wanted.digest };
        let before = self.models.last(name.as_str()).await?;
        self.move_pointer(name, to, before, wanted.revision).await
    }

    /// Goes back to the version that was active before this one. Doing it twice comes back again.
    pub async fn rollback(&self, name: &ModelName) -> Result<Activated, CatalogFault> {
        let before = self.models.last(name.as_str()).await?.filter(|stored| !stored.deleted);
        let before = before.ok_or_else(|| CatalogFault::NoPointer { name: name.clone() })?;
        let now = Pointer::parse(&before.value).ok();
        let mut earlier = self.history(name).await?;
        earlier.retain(|item| item.revision < before.revision);
        let valid = earlier.into_iter().rev().filter_map(|item| item.pointer?.ok());
        let mut other = valid.filter(|pointer| now.as_ref().is_none_or(|now| now.version != pointer.version));
        let to = other.next().ok_or_else(|| CatalogFault::NothingToRollBack { name: name.clone() })?;
        let revision = before.revision;
        self.move_pointer(name, to, Some(before), Some(revision)).await
    }

    /// Every revision of the pointer that the bucket still keeps, the oldest first.
    pub async fn history(&self, name: &ModelName) -> Result<Vec<HistoryItem>, CatalogFault> {
        let (mut items, mut from) = (Vec::new(), 0);
        while items.len() < limits::HISTORY_MAX {
            let Some(stored) = self.models.next(name.as_str(), from).await? else {
                break;
            };
            from = stored.revision + 1;
            let pointer = (!stored.deleted).then(|| Pointer::parse(&stored.value));
            items.push(HistoryItem { revision: stored.revision, at: stored.at, pointer });
        }
        Ok(items)
    }

    async fn move_pointer(
        &self,
        name: &ModelName,
        to: Pointer,
        before: Option<Stored>,
        wanted: Option<u64>,
    ) -> Result<Activated, CatalogFault> {
        let active = before.as_ref().filter(|stored| !stored.deleted);
        let from = active.and_then(|stored| Pointer::parse(&stored.value).ok());
        let revision = before.as_ref().map_or(0, |stored| stored.revision);
        let expected = active.map_or(0, |stored| stored.revision);
        if wanted.is_some_and(|wanted| wanted != expected) {
            return Err(CatalogFault::pointer_raced(name, from.as_ref(), revision));
        }
        self.check_loadable(name, &to).await?;
        if from.as_ref() == Some(&to) {
            return Ok(Activated { from, to, revision });
        }
        let moved = self.models.put(name.as_str(), to.to_bytes().into(), Expect::Revision(revision)).await?;
        if let Some(revision) = moved {
            return Ok(Activated { from, to, revision });
        }
        let winner = self.models.last(name.as_str()).await?;
        let pointer = winner.as_ref().and_then(|stored| Pointer::parse(&stored.value).ok());
        Err(CatalogFault::pointer_raced(name, pointer.as_ref(), winner.map_or(0, |stored| stored.revision)))
    }

    /// Whether a worker that starts now finds the version that a pointer names, with all of its artifacts.
    pub async fn check_loadable(&self, name: &ModelName, to: &Pointer) -> Result<(), CatalogFault> {
        let (entry, found, _) = self.entry(name, &to.version).await?;
        if let Some(expected) = to.digest.filter(|expected| *expected != found) {
            return Err(CatalogFault::WrongEntry { name: name.clone(), version: to.version.clone(), expected, found });
        }
        for (_, artifact) in entry.artifacts() {
            self.artifacts.find(&artifact).await?;
        }
        Ok(())
    }
}
