//! Compiled code on local disk, so a restarted worker does not compile again.
//!
//! Guarantees: [`Cache::get`] returns exactly the code passed to [`Cache::put`] for the same key by a process of this
//! user. Each file carries a MAC over key and code. The MAC is verified before any other use of the file. A defective
//! cache never prevents a load: the file is logged, removed, and compiled again.

use std::fmt::Write as _;
use std::hash::{Hash as _, Hasher};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use inferbus_private_dir::{Folder, FolderFault, touch};
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;

use super::{MachineCode, Source};
use crate::limits;
use crate::load::rewrite;

/// Reasons for a start without cache. Plugins are then compiled at each start.
#[derive(Debug, thiserror::Error)]
pub enum CacheFault {
    #[error(transparent)]
    Folder(#[from] FolderFault),
    #[error("the cache key in {} can be neither read nor created: {why}", folder.display())]
    Key { folder: PathBuf, why: std::io::Error },
}

/// A private folder of compiled code. Clones share it.
#[derive(Clone, Debug)]
pub struct Cache(Arc<OpenCache>);

#[derive(Debug)]
struct OpenCache {
    folder: Folder,
    path: PathBuf,
    secret: CacheSecret,
}

#[derive(Clone, PartialEq, Eq)]
struct CacheSecret([u8; SECRET]);

/// A hash of all inputs of the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CacheKey([u8; 32]);

/// The start of each file, with the version of its layout: magic, MAC, code.
const MAGIC: [u8; 8] = *b"ibcode\0\x01";
const MAC: usize = 32;
const HEADER: usize = MAGIC.len() + MAC;
const SECRET: usize = 32;
const OPEN_TO_OTHERS: u32 = 0o077;
/// A distinct name, because the folder may contain files of other programs.
const SECRET_NAME: &str = "inferbus-cache.key";

impl Cache {
    /// Opens the cache in this folder. Creates the folder if it is missing.
    pub fn open(path: &Path) -> Result<Self, CacheFault> {
        let folder = Folder::open(path)?;
        let secret = secret(&folder).map_err(|why| CacheFault::Key { folder: path.to_owned(), why })?;
        Ok(Self(Arc::new(OpenCache { folder, path: path.to_owned(), secret })))
    }

    pub(super) fn get(&self, key: &CacheKey) -> Option<MachineCode> {
        let OpenCache { folder, secret, .. } = &*self.0;
        let (bytes, file) = match folder.read(&key.name(), HEADER + limits::COMPILED_BYTES) {
            Ok(Some(found)) => found,
            Ok(None) => return None,
            Err(fault) => {
                self.forget(key, &fault.to_string());
                return None;
            }
        };
        if !secret.verifies(key, &bytes) {
            self.forget(key, "it is not as it was written");
            return None;
        }
        // The fault is ignored: an early eviction only costs a compilation.
        let _ = touch(&file, limits::CACHE_TOUCH);
        Some(MachineCode { bytes, header: HEADER })
    }

    pub(super) fn put(&self, key: &CacheKey, code: &MachineCode) {
        let OpenCache { folder, secret, path } = &*self.0;
        let code = code.code();
        let mac = secret.mac(key, code).finalize().into_bytes();
        let stored = folder
            .replace(&key.name(), &[&MAGIC, &mac, code])
            .and_then(|()| folder.keep_to(is_ours, limits::CACHE_FILES, limits::CACHE_BYTES));
        if let Err(fault) = stored {
            tracing::warn!(folder = %path.display(), "compiled plugin not cached: {fault}");
        }
    }

    /// Removes an unusable file.
    pub(super) fn forget(&self, key: &CacheKey, why: &str) {
        let OpenCache { folder, path, .. } = &*self.0;
        let file = path.join(key.name());
        tracing::warn!(file = %file.display(), "cached plugin rejected ({why}): removing and recompiling it");
        if let Err(fault) = folder.remove(&key.name()) {
            tracing::warn!(file = %file.display(), "cached plugin not removed: {fault}");
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.len() == 2 * size_of::<CacheKey>() && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The secret of the folder. Creates one if it is missing or invalid.
fn secret(folder: &Folder) -> std::io::Result<CacheSecret> {
    let read = || {
        let Some((bytes, file)) = folder.read(SECRET_NAME, SECRET + 1)? else { return Ok(None) };
        if file.metadata()?.mode() & OPEN_TO_OTHERS != 0 {
            return Err(std::io::Error::other("others can read it"));
        }
        <[u8; SECRET]>::try_from(bytes).map(Some).map_err(|_| std::io::Error::other("it has the wrong length"))
    };
    match read() {
        Ok(Some(secret)) => return Ok(CacheSecret(secret)),
        Ok(None) => {}
        // A temporary read error does not make the secret invalid.
        Err(fault) if fault.kind() != std::io::ErrorKind::Other => return Err(fault),
        Err(fault) => {
            tracing::warn!("invalid plugin cache key ({fault}): creating a new one");
            folder.remove(SECRET_NAME)?;
        }
    }
    let mut fresh = [0; SECRET];
    let filled = getrandom(&mut fresh[..], GetRandomFlags::empty())?;
    if filled != SECRET {
        return Err(std::io::Error::other("the operating system returned too few random bytes"));
    }
    folder.create(SECRET_NAME, &fresh)?;
    // Another process may have created it first.
    read()?.map(CacheSecret).ok_or_else(|| std::io::Error::other("it was removed immediately"))
}

impl CacheSecret {
    fn mac(&self, key: &CacheKey, code: &[u8]) -> Hmac<Sha256> {
        // HMAC pads short keys with zeroes to the size of a block.
        let mut block = [0; 2 * SECRET];
        block[..SECRET].copy_from_slice(&self.0);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(&key.0);
        mac.update(code);
        mac
    }

    /// Whether a process with this secret has written this file for this key.
    fn verifies(&self, key: &CacheKey, file: &[u8]) -> bool {
        let Some((magic, rest)) = file.split_first_chunk::<{ MAGIC.len() }>() else {
            return false;
        };
        let Some((mac, code)) = rest.split_first_chunk::<MAC>() else {
            return false;
        };
        // The comparison takes constant time.
        *magic == MAGIC && self.mac(key, code).verify(mac.into()).is_ok()
    }
}

impl std::fmt::Debug for CacheSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheSecret")
    }
}

impl CacheKey {
    pub(super) fn of(engine: &Engine, source: &Source<'_>) -> Self {
        let Source { wasm, config, globals } = source;
        let mut hash = Sha256Hasher(Sha256::new());
        (Sha256::digest(wasm).as_slice(), Sha256::digest(config).as_slice()).hash(&mut hash);
        (rewrite::VERSION, globals).hash(&mut hash);
        // Covers the version of Wasmtime, the features of the processor, and the code settings.
        engine.precompile_compatibility_hash().hash(&mut hash);
        Self(hash.0.finalize().into())
    }

    fn name(&self) -> String {
        self.0.iter().fold(String::with_capacity(64), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        })
    }
}

/// Feeds values of `Hash` into a collision-resistant hash.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Unused: the digest is read directly.
    fn finish(&self) -> u64 {
        0
    }
}
