//! Artifacts on this machine's disk: what was fetched once is not fetched again, when a model comes back or a worker starts anew.
//!
//! Promises: what is given has the digest and the size that the entry says, hashed anew at every read, so the folder need
//! not be trusted. Nothing that is wrong with the cache keeps a model from being loaded. It keeps to its size: what was not
//! used for longest goes first.

use std::fs::{self, DirBuilder, File, FileTimes};
use std::io::{self, Read as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use inferbus_catalog::{Artifact, ByteSize, Catalog, CatalogFault, Digest};

use crate::limits;

pub struct ArtifactCache {
    folder: PathBuf,
    most: u64,
    /// Gives each file that is being written a name of its own.
    written: AtomicU64,
}

const PRIVATE: u32 = 0o700;
/// What is being written, until it is whole.
const UNFINISHED: &str = "new";

impl ArtifactCache {
    /// Makes the folder where it is missing.
    pub fn open(folder: &Path, most: ByteSize) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(PRIVATE).create(folder)?;
        Ok(Self { folder: folder.to_owned(), most: most.bytes() as u64, written: AtomicU64::new(0) })
    }

    /// The artifact, from the disk if it is there, else from the catalog.
    pub async fn fetch(self: &Arc<Self>, catalog: &Catalog, artifact: Artifact) -> Result<Bytes, CatalogFault> {
        let cache = self.clone();
        let read = tokio::task::spawn_blocking(move || cache.read(&artifact)).await;
        if let Ok(Some(bytes)) = read {
            return Ok(bytes);
        }
        let bytes = catalog.artifact(&artifact).await?;
        let (cache, written) = (self.clone(), bytes.clone());
        tokio::task::spawn_blocking(move || cache.write(&artifact, &written));
        Ok(bytes)
    }

    fn path(&self, artifact: &Artifact) -> PathBuf {
        let digest = artifact.digest.to_string();
        self.folder.join(digest.rsplit(':').next().unwrap_or_default())
    }

    /// Blocks.
    fn read(&self, artifact: &Artifact) -> Option<Bytes> {
        let path = self.path(artifact);
        let read = || {
            if !fs::symlink_metadata(&path)?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let file = File::open(&path)?;
            let mut bytes = Vec::with_capacity(usize::try_from(artifact.size).unwrap_or(0));
            // One byte more tells a file that is too long.
            (&file).take(artifact.size.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 != artifact.size || Digest::of(&bytes) != artifact.digest {
                return Err(io::Error::other("it is not as it was written"));
            }
            // Being evicted too early costs a fetch.
            let _ = file.set_times(FileTimes::new().set_modified(SystemTime::now()));
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => Some(bytes.into()),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => None,
            Err(fault) => {
                tracing::warn!(file = %path.display(), "a cached artifact is not used, {fault}: it is fetched anew");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    /// Blocks.
    fn write(&self, artifact: &Artifact, bytes: &[u8]) {
        if artifact.size > self.most {
            return;
        }
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let new = self.folder.join(format!("{}-{number}.{UNFINISHED}", std::process::id()));
        let written = fs::write(&new, bytes).and_then(|()| fs::rename(&new, self.path(artifact)));
        if let Err(fault) = written.and_then(|()| self.evict()) {
            let _ = fs::remove_file(&new);
            tracing::warn!(folder = %self.folder.display(), "an artifact could not be cached: {fault}");
        }
    }

    /// Removes what was not used for longest until the rest is within bounds.
    fn evict(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let file = file?;
            // Another worker may have removed it meanwhile.
            let Ok(metadata) = file.metadata() else { continue };
            let is_ours = file.file_name().to_str().is_some_and(is_ours);
            if is_ours && metadata.is_file() {
                files.push((metadata.modified()?, metadata.len(), file.path()));
            }
        }
        files.sort_unstable();
        let (mut count, mut bytes) = (files.len(), files.iter().map(|(_, len, _)| len).sum::<u64>());
        for (_, len, path) in files {
            if count <= limits::CACHED_ARTIFACTS && bytes <= self.most {
                break;
            }
            // It may be gone already.
            let _ = fs::remove_file(path);
            (count, bytes) = (count - 1, bytes - len);
        }
        Ok(())
    }
}

/// Whether a file is an artifact, or what a process that ended too early left of one.
fn is_ours(name: &str) -> bool {
    const DIGITS: usize = 64;
    (name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())) || name.ends_with(".new")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(bytes: &[u8]) -> Artifact {
        Artifact { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn cache(most: u64) -> (tempfile::TempDir, ArtifactCache) {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = ArtifactCache::open(&folder.path().join("artifacts"), ByteSize::new(most)).expect("a cache");
        (folder, cache)
    }

    #[test]
    fn what_was_written_is_read_and_what_was_changed_is_not() {
        let (_folder, cache) = cache(1000);
        let known = artifact(b"some bytes");
        assert_eq!(cache.read(&known), None);
        cache.write(&known, b"some bytes");
        assert_eq!(cache.read(&known).as_deref(), Some(&b"some bytes"[..]));
        for other in [&b"other byte"[..], b"some bytes and more", b"some", b""] {
            fs::write(cache.path(&known), other).expect("written");
            assert_eq!(cache.read(&known), None, "{other:?}");
            assert!(!cache.path(&known).exists(), "it is removed");
        }
        fs::create_dir(cache.path(&known)).expect("a folder in its place");
        assert_eq!(cache.read(&known), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let (_folder, cache) = cache(25);
        let [one, two, three] = [b"1111111111", b"2222222222", b"3333333333"];
        cache.write(&artifact(one), one);
        cache.write(&artifact(two), two);
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        for known in [one, two] {
            File::open(cache.path(&artifact(known))).and_then(|file| file.set_times(old)).expect("touched");
        }
        assert!(cache.read(&artifact(one)).is_some(), "used now");
        cache.write(&artifact(three), three);
        assert_eq!(cache.read(&artifact(two)), None);
        assert!(cache.read(&artifact(one)).is_some() && cache.read(&artifact(three)).is_some());
        cache.write(&artifact(&[0; 26]), &[0; 26]);
        assert_eq!(cache.read(&artifact(&[0; 26])), None, "larger than all of the cache");
    }
}
