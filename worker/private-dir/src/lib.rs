//! A directory that only its owner can write. It is held open, so later changes at its path do not matter.
//!
//! Guarantees: [`Folder::read`] returns only plain files of this user, writable by no other user and within the size
//! limit. The bytes are copied into this process before any check of their contents. Writes are atomic.

#![forbid(unsafe_code)]

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Reasons to reject a directory.
#[derive(Debug, thiserror::Error)]
pub enum FolderFault {
    #[error("the folder {} cannot be used: {why}", folder.display())]
    Unusable { folder: PathBuf, why: io::Error },
    #[error("the folder {} belongs to user {owner}: choose a folder of the current user", folder.display())]
    NotOurs { folder: PathBuf, owner: u32 },
    #[error("others can write the folder {} (mode {mode:o}): remove that permission (`chmod 700`)", folder.display())]
    Shared { folder: PathBuf, mode: u32 },
}

#[derive(Debug)]
pub struct Folder(OwnedFd);

/// The data about one file for an eviction.
struct ListedFile {
    name: String,
    bytes: u64,
    /// Seconds and nanoseconds.
    used: (i64, u64),
}

/// The suffix of unfinished files.
const UNFINISHED: &str = ".new";
const WRITABLE_BY_OTHERS: u32 = 0o022;
const PERMISSIONS: u32 = 0o7777;
const PRIVATE_FOLDER: u32 = 0o700;
const PRIVATE_FILE: Mode = Mode::RUSR.union(Mode::WUSR);

impl Folder {
    /// Creates the directory if it is missing.
    pub fn open(path: &Path) -> Result<Self, FolderFault> {
        let unusable = |why| FolderFault::Unusable { folder: path.to_owned(), why };
        DirBuilder::new().recursive(true).mode(PRIVATE_FOLDER).create(path).map_err(unusable)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).map_err(|fault| unusable(fault.into()))?;
        let folder = File::from(folder);
        let metadata = folder.metadata().map_err(unusable)?;
        if metadata.uid() != geteuid().as_raw() {
            return Err(FolderFault::NotOurs { folder: path.to_owned(), owner: metadata.uid() });
        }
        if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(FolderFault::Shared { folder: path.to_owned(), mode: metadata.mode() & PERMISSIONS });
        }
        Ok(Self(folder.into()))
    }

    /// The file and its length. `None` if the file does not exist.
    pub fn open_file(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        // Opening must not follow a link or block on a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.0, name, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(io::Error::other("it is a link")),
            Err(fault) => return Err(fault.into()),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a plain file"));
        }
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(io::Error::other("others can write it"));
        }
        Ok(Some((file, metadata.len())))
    }

    /// The contents of the file. `None` if the file does not exist.
    pub fn read(&self, name: &str, most: usize) -> io::Result<Option<(Vec<u8>, File)>> {
        let Some((mut file, len)) = self.open_file(name)? else { return Ok(None) };
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        if len > most {
            return Err(io::Error::other("it is too large"));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(len).unwrap_or(0));
        // The file may have grown since the length check.
        (&mut file).take(most).read_to_end(&mut bytes)?;
        Ok(Some((bytes, file)))
    }

    /// Writes a file and atomically replaces any file with this name.
    pub fn replace(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let new = self.write_new(parts)?;
        renameat(&self.0, &new, &self.0, name).map_err(|fault| self.abandon(&new, fault.into()))
    }

    /// Creates a file unless one with this name exists.
    pub fn create(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.write_new(&[bytes])?;
        let made = match linkat(&self.0, &new, &self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(fault) => Err(fault.into()),
        };
        self.remove(&new)?;
        made
    }

    /// Writes a file under a temporary name and returns that name.
    fn write_new(&self, parts: &[&[u8]]) -> io::Result<String> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}.{}{UNFINISHED}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // An earlier process with the same id may have left this file behind.
        let _ = self.remove(&name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.0, &name, flags, PRIVATE_FILE)?);
        match parts.iter().try_for_each(|part| file.write_all(part)) {
            Ok(()) => Ok(name),
            Err(fault) => Err(self.abandon(&name, fault)),
        }
    }

    fn abandon(&self, new: &str, fault: io::Error) -> io::Error {
        // The caller reports the first fault.
        let _ = self.remove(new);
        fault
    }

    /// Removes a file or an empty directory.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::ISDIR) => Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?),
            Err(fault) => Err(fault.into()),
        }
    }

    /// Evicts the least recently used files until the rest is within bounds. It skips files that fail `is_ours`.
    pub fn keep_to(&self, is_ours: impl Fn(&str) -> bool, most_files: usize, most_bytes: u64) -> io::Result<()> {
        let mut files = self.list()?;
        files.retain(|file| is_ours(&file.name) || is_unfinished(&file.name));
        files.sort_unstable_by_key(|file| file.used);
        let mut count = files.len();
        let mut bytes: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            if count <= most_files && bytes <= most_bytes {
                break;
            }
            self.remove(&file.name)?;
            (count, bytes) = (count - 1, bytes.saturating_sub(file.bytes));
        }
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<ListedFile>> {
        let mut files = Vec::new();
        for entry in Dir::read_from(self.0.as_fd())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            let Ok(stat) = statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                let bytes = u64::try_from(stat.st_size).unwrap_or_default();
                files.push(ListedFile { name: name.to_owned(), bytes, used: (stat.st_mtime, stat.st_mtime_nsec) });
            }
        }
        Ok(files)
    }
}

/// Whether this file is left over from an interrupted write.
fn is_unfinished(name: &str) -> bool {
    name.ends_with(UNFINISHED) && name.starts_with(|c: char| c.is_ascii_digit())
}

/// Marks a file as used now, at most once per `rarely`.
pub fn touch(file: &File, rarely: std::time::Duration) -> io::Result<()> {
    let now = SystemTime::now();
    let used = file.metadata()?.modified()?;
    if now.duration_since(used).is_ok_and(|since| since < rarely) { Ok(()) } else { file.set_modified(now) }
}
