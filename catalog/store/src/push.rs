//! Push: stores a bundle's artifacts in the Object Store, then its entry.
//!
//! Guarantees: the entry is written last, after reading back and verifying every artifact. An interrupted push is
//! invisible to workers. The next push reuses the artifacts already stored.

use std::collections::BTreeSet;

use inferbus_catalog_document::{Artifact, Bundle, Digest, Entry, ModelName, Role, Version};

use crate::bucket::Expect;
use crate::catalog::{Catalog, entry_key};
use crate::fault::CatalogFault;

#[derive(Clone, Copy, Debug, Default)]
pub struct PushOptions {
    /// Replace an entry with the same version and other content.
    pub force: bool,
}

/// The progress of a push with one artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub role: Role,
    pub artifact: Artifact,
    pub phase: PushPhase,
    /// Processed bytes in this phase, of `artifact.size`.
    pub done: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PushPhase {
    /// Reading an object already stored under this digest.
    Checking,
    Uploading,
    /// Reading back the uploaded object.
    Verifying,
    /// Complete and verified. Reported once for every artifact.
    Stored,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The digest of the entry.
    pub digest: Digest,
    /// The number of uploaded artifacts.
    pub uploaded: usize,
    /// The number of artifacts already stored.
    pub skipped: usize,
    /// False if the same entry was already stored and no artifact was uploaded.
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
        // After a repair of artifacts the entry is written again, so workers retry loading it.
        let entry_written = !before.same || uploaded > 0;
        if entry_written {
            self.write_entry(bundle, digest, before.revision).await?;
        }
        Ok(Pushed { digest, uploaded, skipped, entry_written })
    }

    async fn replaceable(
        &self,
        bundle: &Bundle,
        pushed: Digest,
        options: PushOptions,
    ) -> Result<Previous, CatalogFault> {
        let (name, version) = (&bundle.name, &bundle.version);
        let Some(stored) = self.stored_entry(name, version).await? else {
            return Ok(Previous { revision: 0, same: false });
        };
        let before = Previous { revision: stored.revision, same: false };
        if stored.deleted {
            return Ok(before);
        }
        let found = Entry::parse(&stored.value).ok().map(|entry| entry.digest());
        match found {
            Some(found) if found == pushed => Ok(Previous { same: true, ..before }),
            _ if options.force => Ok(before),
            _ => Err(CatalogFault::VersionTaken { name: name.clone(), version: version.clone(), stored: found }),
        }
    }

    /// Stores an artifact if it is missing or wrong. Returns whether it was uploaded.
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

/// The stored entry before a push.
struct Previous {
    /// Zero if the key never existed.
    revision: u64,
    same: bool,
}
