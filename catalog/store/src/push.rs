//! Push: a bundle's artifacts into the Object Store, then its entry.
//!
//! Promises: the entry is written last and only when every artifact has been read back whole, so a push that
//! stops anywhere leaves nothing that a worker would see. Pushing again goes on from there.

use std::collections::BTreeSet;

use inferbus_catalog_document::{Artifact, Bundle, Digest, Entry, ModelName, Role};
use semver::Version;

use crate::bucket::Expect;
use crate::catalog::{Catalog, entry_key};
use crate::fault::CatalogFault;

#[derive(Clone, Copy, Debug, Default)]
pub struct PushOptions {
    /// Replace an entry of the same version that has other content.
    pub force: bool,
}

/// How far a push has come with one artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub role: Role,
    pub artifact: Artifact,
    pub phase: PushPhase,
    /// Bytes done in this step, of `artifact.size`.
    pub done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushPhase {
    /// Reading what is already stored under this digest.
    Checking,
    Uploading,
    /// Reading back what was uploaded.
    Verifying,
    /// Whole and verified. Comes once for every artifact.
    Stored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the entry.
    pub digest: Digest,
    /// Artifacts that were uploaded.
    pub uploaded: usize,
    /// Artifacts that were already there.
    pub skipped: usize,
    /// False if the same entry was already there and nothing had to be repaired.
    pub entry_written: bool,
}

type OnProgress<'a> = &'a mut (dyn FnMut(Progress) + Send);

impl Catalog {
    pub async fn push(
        &self,
        bundle: &Bundle,
        options: PushOptions,
        progress: OnProgress<'_>,
    ) -> Result<Pushed, CatalogFault> {
        let digest = bundle.entry.digest();
        let before = self.replaceable(bundle, digest, options).await?;
        let (mut uploaded, mut skipped) = (0, 0);
        let mut seen = BTreeSet::new();
        for (role, artifact) in bundle.entry.artifacts().filter(|(_, artifact)| seen.insert(artifact.digest)) {
            if self.store(bundle, role, artifact, progress).await? {
                uploaded += 1;
            } else {
                skipped += 1;
            }
        }
        // An entry whose artifacts were repaired is written again: that is what makes workers look again.
        let entry_written = !before.same || uploaded > 0;
        if entry_written {
            self.write_entry(bundle, digest, before.revision).await?;
        }
        Ok(Pushed { digest, uploaded, skipped, entry_written })
    }

    async fn replaceable(&self, bundle: &Bundle, pushed: Digest, options: PushOptions) -> Result<Before, CatalogFault> {
        let (name, version) = (&bundle.name, &bundle.version);
        let Some(stored) = self.stored_entry(name, version).await? else {
            return Ok(Before { revision: 0, same: false });
        };
        let before = Before { revision: stored.revision, same: false };
        if stored.deleted {
            return Ok(before);
        }
        let found = Entry::parse(&stored.value).ok().map(|entry| entry.digest());
        match found {
            Some(found) if found == pushed => Ok(Before { same: true, ..before }),
            _ if options.force => Ok(before),
            _ => Err(CatalogFault::VersionTaken { name: name.clone(), version: version.clone(), stored: found }),
        }
    }

    /// Makes sure that an artifact is stored. True if it had to be uploaded.
    async fn store(
        &self,
        bundle: &Bundle,
        role: Role,
        artifact: Artifact,
        progress: OnProgress<'_>,
    ) -> Result<bool, CatalogFault> {
        let mut report = |phase, done| progress(Progress { role, artifact, phase, done });
        let checked = self.artifacts.verify(&artifact, &mut |done| report(PushPhase::Checking, done)).await;
        let missing = match checked {
            Ok(()) => false,
            Err(fault) if fault.is_about_stored_bytes() => true,
            Err(fault) => return Err(fault),
        };
        if missing {
            let bytes = bundle.file(role).ok_or(CatalogFault::IncompleteBundle { digest: artifact.digest })?;
            self.artifacts.put(bytes, &mut |done| report(PushPhase::Uploading, done)).await?;
            self.artifacts.verify(&artifact, &mut |done| report(PushPhase::Verifying, done)).await?;
        }
        report(PushPhase::Stored, artifact.size);
        Ok(missing)
    }

    async fn write_entry(&self, bundle: &Bundle, digest: Digest, revision: u64) -> Result<(), CatalogFault> {
        let (name, version) = (&bundle.name, &bundle.version);
        let key = entry_key(name, version)?;
        let written = self.models.put(&key, bundle.entry.canonical().into(), Expect::Revision(revision)).await?;
        if written.is_some() || self.has_entry(name, version, digest).await? {
            return Ok(());
        }
        Err(CatalogFault::EntryRaced { name: name.clone(), version: version.clone() })
    }

    async fn has_entry(&self, name: &ModelName, version: &Version, digest: Digest) -> Result<bool, CatalogFault> {
        let stored = self.stored_entry(name, version).await?.filter(|stored| !stored.deleted);
        let entry = stored.and_then(|stored| Entry::parse(&stored.value).ok());
        Ok(entry.is_some_and(|entry| entry.digest() == digest))
    }
}

/// The entry that a push finds.
struct Before {
    /// Zero if there never was one.
    revision: u64,
    same: bool,
}
