//! Activate, roll back, and the history of a model's pointer.
//!
//! Guarantees: a pointer moves only to a version with a valid entry and stored artifacts. It moves only from the
//! revision read before. Of two concurrent moves exactly one succeeds.

use std::time::SystemTime;

use inferbus_catalog_document::{Digest, ModelName, Pointer, Problems, Version};

use crate::bucket::{Expect, Stored};
use crate::catalog::Catalog;
use crate::fault::CatalogFault;
use crate::limits;

#[derive(Clone, Copy, Debug, Default)]
pub struct Activate {
    /// The required digest of the entry. The pointer stores it, so workers check it at every load.
    pub digest: Option<Digest>,
    /// The required revision of the pointer. Zero requires the absence of a pointer.
    pub revision: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Activated {
    /// The previous pointer, if it was valid.
    pub from: Option<Pointer>,
    pub to: Pointer,
    /// The new revision of the pointer.
    pub revision: u64,
}

/// One revision of a pointer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryItem {
    pub revision: u64,
    pub at: SystemTime,
    /// `None` for a deletion.
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

    /// Activates the previously active version. A second rollback undoes the first.
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

    /// All stored revisions of the pointer, oldest first.
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

    /// Checks for a valid entry and all artifacts of the version in the pointer, as a starting worker does.
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
