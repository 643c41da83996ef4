//! The crash journal: the messages on each lane during a crash, read by the next process.
//!
//! Guarantees: a message or model version with repeated crashes is recognised after a restart. A kill from outside only
//! makes suspects: a suspect runs alone the next time and is cleared when it completes. Requests of the same version
//! write the journal once. A stream message writes one slot without a sync: the journal must survive the process, not
//! the machine.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use inferbus_catalog::Digest;

use super::file::{LOADING, REQUEST, now};
use super::history::{Crashes, Death};
use crate::limits;

/// Bytes of one line (a digest and a message name), and of one slot (a line per message of a batch).
const LINE: usize = 512;
const SLOT: usize = LINE * limits::BATCH;
const EXTENSION: &str = "journal";

pub struct Journal {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    crashes: Crashes,
    /// Suspects of earlier processes, not completed in this one.
    suspects: RwLock<HashSet<String>>,
    /// Versions with a completed message in this process, and the file offset for the next one.
    cleared: Mutex<HashSet<Digest>>,
    end: AtomicU64,
    /// Free slots for loads, after the slots of the lanes.
    loads: Mutex<Vec<usize>>,
    /// Held exclusively by a suspect, so a crash has a single cause.
    exclusion: RwLock<()>,
}

/// The journal of one lane.
pub struct LaneJournal {
    journal: Arc<Journal>,
    lane: usize,
    /// The version in the slot, for requests.
    written: Option<Digest>,
    /// The number of messages named in the slot.
    named: usize,
    cleared: Option<Digest>,
}

/// A guard for one run: it excludes suspects, or all other runs.
pub enum Exclusion<'a> {
    Nothing,
    Shared { _guard: RwLockReadGuard<'a, ()> },
    Alone { _guard: RwLockWriteGuard<'a, ()> },
}

/// The journal entry of a load. Its drop erases the entry.
pub struct Loading<'a> {
    journal: &'a Journal,
    slot: Option<usize>,
}

impl Journal {
    /// Reads the journals of crashed workers in the folder, and creates a new journal.
    pub fn open(folder: &Path, lanes: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // One reader at a time, or a crash would be counted twice.
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("lock"))?;
        lock.lock()?;
        let mut deaths = Vec::new();
        for entry in std::fs::read_dir(folder)?.take(limits::JOURNALS) {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                deaths.extend(read_crash(&path)?);
            }
        }
        let crashes = Crashes::read(&folder.join("crashes"), deaths)?;
        let name = format!("{}-{}.{EXTENSION}", std::process::id(), now());
        let path = folder.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        file.try_lock().map_err(io::Error::from)?;
        let slots = lanes + limits::LOADS;
        file.set_len((slots * SLOT) as u64)?;
        let loads = Mutex::new((lanes..slots).collect());
        let suspects = RwLock::new(crashes.suspects());
        let (cleared, end, exclusion) = (Mutex::default(), AtomicU64::new((slots * SLOT) as u64), RwLock::new(()));
        Ok(Self { file, path, folder: folder.to_owned(), crashes, suspects, cleared, end, loads, exclusion })
    }

    /// The number of a rejected message's crashes, or `None` if it may run.
    pub fn crash_count(&self, message: &str) -> Option<usize> {
        self.crashes.crash_count(message)
    }

    /// The number of crashes of a version in quarantine and the history file, or `None` if it may be loaded.
    pub fn quarantined(&self, digest: &Digest) -> Option<(usize, PathBuf)> {
        Some((self.crashes.quarantined(&digest.to_string())?, self.folder.join("crashes")))
    }

    pub fn loading(&self, digest: &Digest) -> Loading<'_> {
        let slot = self.loads.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(slot) = slot {
            self.write(slot, digest, std::iter::once(LOADING));
        }
        Loading { journal: self, slot }
    }

    /// Removes the journal at an orderly stop.
    pub fn close(&self) {
        if let Err(fault) = std::fs::remove_file(&self.path) {
            tracing::warn!(journal = %self.path.display(), %fault, "cannot remove the crash journal");
        }
    }

    /// Returns the number of written lines.
    fn write<'m>(&self, slot: usize, digest: &Digest, messages: impl Iterator<Item = &'m str>) -> usize {
        let mut bytes = Vec::with_capacity(LINE);
        for (line, message) in messages.take(limits::BATCH).enumerate() {
            let text = format!("{digest} {message}\n");
            bytes.extend_from_slice(&text.as_bytes()[..text.len().min(LINE)]);
            bytes.resize((line + 1) * LINE, 0);
        }
        // A worker also works without a journal.
        let _ = self.file.write_all_at(&bytes, (slot * SLOT) as u64);
        bytes.len() / LINE
    }

    fn erase(&self, slot: usize, lines: usize) {
        let _ = self.file.write_all_at(&vec![0; lines * LINE], (slot * SLOT) as u64);
    }

    fn suspects(&self) -> RwLockReadGuard<'_, HashSet<String>> {
        self.suspects.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn clear(&self, digest: &Digest) {
        if self.cleared.lock().unwrap_or_else(PoisonError::into_inner).insert(*digest) {
            let line = format!("{digest}\n");
            let at = self.end.fetch_add(line.len() as u64, Ordering::Relaxed);
            let _ = self.file.write_all_at(line.as_bytes(), at);
        }
    }
}

impl LaneJournal {
    pub fn new(journal: Arc<Journal>, lane: usize) -> Self {
        Self { journal, lane, written: None, named: 0, cleared: None }
    }

    /// Whether a message was on a lane during a crash and must run alone.
    pub fn suspects(&self, message: &str) -> bool {
        self.journal.suspects().contains(message)
    }

    /// Records the next run of this lane. Waits if one of its messages is suspect or if a suspect runs.
    pub fn begin<'m>(&mut self, digest: &Digest, messages: impl Iterator<Item = &'m str> + Clone) -> Exclusion<'_> {
        let (one_is_suspect, there_are_some) = {
            let suspects = self.journal.suspects();
            (messages.clone().any(|message| suspects.contains(message)), !suspects.is_empty())
        };
        let exclusion = match (one_is_suspect, there_are_some) {
            (true, _) => {
                Exclusion::Alone { _guard: self.journal.exclusion.write().unwrap_or_else(PoisonError::into_inner) }
            }
            (false, true) => {
                Exclusion::Shared { _guard: self.journal.exclusion.read().unwrap_or_else(PoisonError::into_inner) }
            }
            (false, false) => Exclusion::Nothing,
        };
        if messages.clone().next().is_some() {
            self.named = self.journal.write(self.lane, digest, messages);
            self.written = None;
        } else if self.written != Some(*digest) {
            self.journal.write(self.lane, digest, std::iter::once(REQUEST));
            self.written = Some(*digest);
        }
        exclusion
    }

    /// Erases the messages recorded by name, and clears them of suspicion.
    pub fn done<'m>(&mut self, messages: impl Iterator<Item = &'m str>) {
        if self.named > 0 {
            if !self.journal.suspects().is_empty() {
                let mut suspects = self.journal.suspects.write().unwrap_or_else(PoisonError::into_inner);
                for message in messages {
                    suspects.remove(message);
                }
            }
            self.journal.erase(self.lane, self.named);
            self.named = 0;
        }
    }

    /// Records the first return of a version's native code.
    pub fn model_returned(&mut self, digest: &Digest) {
        if self.cleared != Some(*digest) {
            self.journal.clear(digest);
            self.cleared = Some(*digest);
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            self.journal.erase(slot, 1);
            self.journal.loads.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

/// Reads and removes a journal without a running process.
fn read_crash(path: &Path) -> io::Result<Option<Death>> {
    // Another worker may have removed it in an orderly stop.
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(fault) => return Err(fault),
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(fault)) => return Err(fault),
    }
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(0).min(limits::JOURNAL_BYTES)];
    file.read_exact_at(&mut bytes, 0)?;
    let text = String::from_utf8_lossy(&bytes).replace('\0', "\n");
    let (mut on_lanes, mut cleared) = (Vec::new(), Vec::new());
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.split_once(' ') {
            Some((digest, message)) => on_lanes.push((digest.to_owned(), message.to_owned())),
            None => cleared.push(line.to_owned()),
        }
    }
    std::fs::remove_file(path)?;
    Ok(Some(Death { at: now() / 1_000_000, on_lanes, cleared }))
}
