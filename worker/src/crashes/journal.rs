//! The crash journal: what each lane had in hand when the process died, read by the next process.
//!
//! Promises: a message that kills its worker again and again is known as such after a restart, and so is a model version
//! that does. A worker that was killed from outside accuses nobody: what was on a lane then is only suspect, runs alone the
//! next time, and is cleared by ending. Steady requests write nothing; a stream's message writes one slot, without a sync,
//! because the journal must outlive the process and not the machine.

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

/// Bytes for a digest and the name of a message, and of one slot: as many of these as messages can be in one run.
const LINE: usize = 512;
const SLOT: usize = LINE * limits::BATCH;
const EXTENSION: &str = "journal";

pub struct Journal {
    file: File,
    path: PathBuf,
    folder: PathBuf,
    crashes: Crashes,
    /// Those of an earlier process that have not come to an end in this one.
    suspects: RwLock<HashSet<String>>,
    /// Versions that have ended a message in this process, and where the next of them is noted.
    cleared: Mutex<HashSet<Digest>>,
    end: AtomicU64,
    /// Slots for loads, which come behind those of the lanes.
    loads: Mutex<Vec<usize>>,
    /// Held alone by a suspect, so that a crash is its own.
    exclusion: RwLock<()>,
}

/// One lane's pen.
pub struct LaneJournal {
    journal: Arc<Journal>,
    lane: usize,
    /// The version that the slot says runs requests.
    written: Option<Digest>,
    /// Messages that the slot names.
    named: usize,
    cleared: Option<Digest>,
}

/// As long as it lives, no suspect runs, or nothing but this one.
pub enum Exclusion<'a> {
    Nothing,
    Shared(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

/// A load that is noted until this is dropped.
pub struct Loading<'a> {
    journal: &'a Journal,
    slot: Option<usize>,
}

impl Journal {
    /// Reads what dead workers left in the folder, and begins a journal of its own there.
    pub fn open(folder: &Path, lanes: usize) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        // One reader at a time, or a death would be counted twice.
        let lock = OpenOptions::new().create(true).append(true).open(folder.join("lock"))?;
        lock.lock()?;
        let mut deaths = Vec::new();
        for entry in std::fs::read_dir(folder)?.take(limits::JOURNALS) {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) {
                deaths.extend(dead(&path)?);
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

    /// How often a message has killed a worker, if it is to be tried no more.
    pub fn crash_count(&self, message: &str) -> Option<usize> {
        self.crashes.crash_count(message)
    }

    /// How often a version has killed a worker, and the file that says so, if it is to be loaded no more.
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

    /// An orderly end accuses nobody.
    pub fn close(&self) {
        if let Err(fault) = std::fs::remove_file(&self.path) {
            tracing::warn!(journal = %self.path.display(), %fault, "the crash journal cannot be removed");
        }
    }

    /// Says how many lines were written.
    fn write<'m>(&self, slot: usize, digest: &Digest, messages: impl Iterator<Item = &'m str>) -> usize {
        let mut bytes = Vec::with_capacity(LINE);
        for (line, message) in messages.take(limits::BATCH).enumerate() {
            let text = format!("{digest} {message}\n");
            bytes.extend_from_slice(&text.as_bytes()[..text.len().min(LINE)]);
            bytes.resize((line + 1) * LINE, 0);
        }
        // Without a journal a worker still works.
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

    /// Whether a message was on a lane when a worker died, so that it must run by itself.
    pub fn suspects(&self, message: &str) -> bool {
        self.journal.suspects().contains(message)
    }

    /// Notes what comes next on this lane, and waits for its turn if one is suspect or if a suspect runs.
    pub fn begin<'m>(&mut self, digest: &Digest, messages: impl Iterator<Item = &'m str> + Clone) -> Exclusion<'_> {
        let (one_is_suspect, there_are_some) = {
            let suspects = self.journal.suspects();
            (messages.clone().any(|message| suspects.contains(message)), !suspects.is_empty())
        };
        let exclusion = match (one_is_suspect, there_are_some) {
            (true, _) => Exclusion::Alone(self.journal.exclusion.write().unwrap_or_else(PoisonError::into_inner)),
            (false, true) => Exclusion::Shared(self.journal.exclusion.read().unwrap_or_else(PoisonError::into_inner)),
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

    /// The lane is done with what it has noted by name, which is suspect no more.
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

    /// Native code came back.
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

/// What a journal says whose process is gone; the file goes with it.
fn dead(path: &Path) -> io::Result<Option<Death>> {
    // Another worker, on its orderly end, may have removed it.
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
