//! The artifact cache: fetched artifacts on local disk, for reloads of a model and restarts of the worker.
//!
//! Guarantees: a returned artifact has the digest and size of its entry, checked at every read. A fault of the cache
//! never prevents a load. The size is bounded: the least recently used artifacts are evicted.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;

use bytes::Bytes;
use inferbus_catalog::{Artifact, ByteSize, Catalog, CatalogFault, Digest};
use inferbus_private_dir::{Folder, FolderFault, touch};

use crate::limits;

pub struct ArtifactCache {
    folder: Folder,
    path: PathBuf,
    most: u64,
}

impl ArtifactCache {
    /// Creates the folder if it is missing.
    pub fn open(path: &Path, most: ByteSize) -> Result<Self, FolderFault> {
        Ok(Self { folder: Folder::open(path)?, path: path.to_owned(), most: most.bytes() as u64 })
    }

    /// The artifact, from disk or else from the catalog.
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

    /// Blocks.
    fn read(&self, artifact: &Artifact) -> Option<Bytes> {
        let name = name(artifact);
        match self.read_and_hash(&name, artifact) {
            Ok(bytes) => bytes.map(Bytes::from),
            Err(fault) => {
                let file = self.path.join(&name);
                tracing::warn!(file = %file.display(), "cached artifact rejected, {fault}: fetching it again");
                // On failure the next write replaces the file.
                let _ = self.folder.remove(&name);
                None
            }
        }
    }

    fn read_and_hash(&self, name: &str, artifact: &Artifact) -> io::Result<Option<Vec<u8>>> {
        let Some((file, len)) = self.folder.open_file(name)? else { return Ok(None) };
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let other = || io::Error::other("its content has changed");
        if len as u64 != artifact.size {
            return Err(other());
        }
        let mut bytes = vec![0; len];
        let digest = if len <= limits::HASHED_AT_ONCE {
            (&file).read_exact(&mut bytes)?;
            Digest::of(&bytes)
        } else {
            read_hashing(&file, &mut bytes)?
        };
        if digest != artifact.digest {
            return Err(other());
        }
        // A failure only causes an early eviction.
        let _ = touch(&file, limits::ARTIFACT_TOUCH);
        Ok(Some(bytes))
    }

    /// Blocks.
    fn write(&self, artifact: &Artifact, bytes: &[u8]) {
        if artifact.size > self.most {
            return;
        }
        let written = self
            .folder
            .replace(&name(artifact), &[bytes])
            .and_then(|()| self.folder.keep_to(is_artifact, limits::CACHED_ARTIFACTS, self.most));
        if let Err(fault) = written {
            tracing::warn!(folder = %self.path.display(), "cannot cache an artifact: {fault}");
        }
    }
}

/// Fills `bytes` while a second thread hashes each piece: a first message waits for both.
fn read_hashing(mut file: impl io::Read, bytes: &mut [u8]) -> io::Result<Digest> {
    thread::scope(|scope| {
        let (read, pieces) = mpsc::channel::<&[u8]>();
        let digest =
            thread::Builder::new().name("hash".into()).spawn_scoped(scope, move || Digest::of_pieces(pieces))?;
        for piece in bytes.chunks_mut(limits::HASHED_AT_ONCE) {
            file.read_exact(piece)?;
            // The receiver exists until the sender is dropped.
            let _ = read.send(piece);
        }
        drop(read);
        digest.join().map_err(|_| io::Error::other("the hash thread panicked"))
    })
}

fn name(artifact: &Artifact) -> String {
    let digest = artifact.digest.to_string();
    digest.rsplit(':').next().unwrap_or_default().to_owned()
}

fn is_artifact(name: &str) -> bool {
    const DIGITS: usize = 64;
    name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, FileTimes};
    use std::time::SystemTime;

    use super::*;

    fn artifact(bytes: &[u8]) -> Artifact {
        Artifact { digest: Digest::of(bytes), size: bytes.len() as u64 }
    }

    fn path(cache: &ArtifactCache, artifact: &Artifact) -> PathBuf {
        cache.path.join(name(artifact))
    }

    fn cache(most: u64) -> (tempfile::TempDir, ArtifactCache) {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = ArtifactCache::open(&folder.path().join("artifacts"), ByteSize::new(most)).expect("a cache");
        (folder, cache)
    }

    #[test]
    fn changed_artifacts_are_rejected() {
        let (_folder, cache) = cache(1000);
        let known = artifact(b"some bytes");
        assert_eq!(cache.read(&known), None);
        cache.write(&known, b"some bytes");
        assert_eq!(cache.read(&known).as_deref(), Some(&b"some bytes"[..]));
        for other in [&b"other byte"[..], b"some bytes and more", b"some", b""] {
            fs::write(path(&cache, &known), other).expect("written");
            assert_eq!(cache.read(&known), None, "{other:?}");
            assert!(!path(&cache, &known).exists(), "it is removed");
        }
        fs::create_dir(path(&cache, &known)).expect("a folder in its place");
        assert_eq!(cache.read(&known), None);
    }

    #[test]
    fn the_least_recently_used_is_evicted() {
        let (_folder, cache) = cache(25);
        let [one, two, three] = [b"1111111111", b"2222222222", b"3333333333"];
        cache.write(&artifact(one), one);
        cache.write(&artifact(two), two);
        let old = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH);
        for known in [one, two] {
            File::open(path(&cache, &artifact(known))).and_then(|file| file.set_times(old)).expect("touched");
        }
        assert!(cache.read(&artifact(one)).is_some(), "used now");
        cache.write(&artifact(three), three);
        assert_eq!(cache.read(&artifact(two)), None);
        assert!(cache.read(&artifact(one)).is_some() && cache.read(&artifact(three)).is_some());
        cache.write(&artifact(&[0; 26]), &[0; 26]);
        assert_eq!(cache.read(&artifact(&[0; 26])), None, "larger than the whole cache");
    }

    #[test]
    fn a_large_artifact_is_hashed_while_it_is_read() {
        let bytes: Vec<u8> = (0..3 * limits::HASHED_AT_ONCE + 7).map(|at| (at % 251) as u8).collect();
        let (_folder, cache) = cache(1 << 30);
        let large = artifact(&bytes);
        cache.write(&large, &bytes);
        assert!(cache.read(&large).is_some_and(|read| read == bytes));
        for at in [0, limits::HASHED_AT_ONCE, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(path(&cache, &large), changed).expect("written");
            assert_eq!(cache.read(&large), None, "changed at {at}");
        }
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("permissions");
        assert!(matches!(
            ArtifactCache::open(folder.path(), ByteSize::new(1)).map(|_| ()),
            Err(FolderFault::Shared { .. })
        ));
    }
}
