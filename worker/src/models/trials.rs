//! Which models were tried: each is loaded in a process of its own first, once for this cache.
//!
//! Promises: what this process loads has survived a process like it, on the same library, with the same options, within the
//! same bounds. It blocks, so it must never happen on a lane or on the bus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use inferbus_catalog::Digest;
use inferbus_engine::{Backend, EngineFault, Options, TrialProcess, TrialReport};
use inferbus_private_dir::{Folder, touch};

use crate::limits;

/// Without a process, models are not tried: for tests and for models that can be trusted.
#[derive(Default)]
pub struct Trials {
    process: Option<TrialProcess>,
    good: Mutex<BTreeMap<Name, TrialReport>>,
    /// What other processes of this user found out, or this one before it was started anew.
    folder: Option<Folder>,
}

/// A trial, by everything that its outcome depends on.
type Name = String;

impl Trials {
    /// Remembers what it finds out in the folder, if there is one.
    pub fn with(process: TrialProcess, folder: Option<Folder>) -> Self {
        Self { process: Some(process), good: Mutex::default(), folder }
    }

    /// Tries the model unless that was done before, and says what it takes, if it was ever tried.
    pub fn survives(
        &self,
        backend: &Backend,
        digest: Digest,
        model: &[u8],
        options: Options,
    ) -> Result<Option<TrialReport>, EngineFault> {
        let Some(process) = &self.process else { return Ok(None) };
        let name = name(process, backend, digest, options);
        let known = self.good.lock().unwrap_or_else(PoisonError::into_inner).get(&name).copied();
        if let Some(loaded) = known.or_else(|| self.read(&name)) {
            return Ok(Some(loaded));
        }
        let started = Instant::now();
        let loaded = process.load(backend, model, options)?;
        let milliseconds = started.elapsed().as_millis();
        tracing::debug!(%digest, milliseconds, memory = loaded.memory, "the model survived its trial");
        self.write(&name, loaded);
        self.remember(name, loaded);
        Ok(Some(loaded))
    }

    fn remember(&self, name: Name, loaded: TrialReport) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= limits::TRIALS {
            // Being tried again costs a moment.
            good.clear();
        }
        good.insert(name, loaded);
    }

    fn read(&self, name: &Name) -> Option<TrialReport> {
        let (bytes, file) = self.folder.as_ref()?.read(name, limits::TRIAL_NOTE).ok()??;
        let memory = std::str::from_utf8(&bytes).ok()?.strip_prefix(NOTE)?.strip_suffix('\n')?.parse().ok()?;
        // Being forgotten too early costs a trial.
        let _ = touch(&file, limits::ARTIFACT_TOUCH);
        let loaded = TrialReport { memory };
        self.remember(name.clone(), loaded);
        Some(loaded)
    }

    fn write(&self, name: &Name, loaded: TrialReport) {
        let Some(folder) = &self.folder else { return };
        let note = format!("{NOTE}{}\n", loaded.memory);
        let written = folder
            .replace(name, &[note.as_bytes()])
            .and_then(|()| folder.keep_to(is_note, limits::TRIALS, limits::TRIAL_NOTES));
        if let Err(fault) = written {
            tracing::warn!("that a model survived its trial could not be noted, so it will be tried again: {fault}");
        }
    }
}

/// What a note says before the bytes of memory that the model took.
const NOTE: &str = "survived with ";

fn name(process: &TrialProcess, backend: &Backend, digest: Digest, options: Options) -> Name {
    let (program, bounds) = (env!("CARGO_PKG_VERSION"), &process.bounds);
    let all = format!("{program} {} {digest} {options:?} {bounds:?}", backend.identity());
    Digest::of(all.as_bytes()).to_string().rsplit(':').next().unwrap_or_default().to_owned()
}

fn is_note(name: &str) -> bool {
    const DIGITS: usize = 64;
    name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trials(folder: &tempfile::TempDir) -> Trials {
        Trials { folder: Some(Folder::open(folder.path()).expect("a folder")), ..Trials::default() }
    }

    #[test]
    fn another_process_finds_what_was_noted_and_believes_no_other_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = "0".repeat(64);
        let loaded = TrialReport { memory: 7 };
        assert_eq!(trials(&folder).read(&name), None);
        trials(&folder).write(&name, loaded);
        assert_eq!(trials(&folder).read(&name), Some(loaded));
        for other in ["", "survived with ", "survived with 7", "survived with x\n", "died\n"] {
            std::fs::write(folder.path().join(&name), other).expect("written");
            assert_eq!(trials(&folder).read(&name), None, "{other:?}");
        }
    }
}
