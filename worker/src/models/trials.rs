//! Trials: each model is first loaded in a separate process, once per cache.
//!
//! Guarantees: a model loaded by this process has survived a trial with the same library, options and bounds. A trial
//! blocks, so it must never run on a lane or on the bus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use inferbus_catalog::Digest;
use inferbus_engine::{Backend, EngineFault, Options, TrialProcess, TrialReport};
use inferbus_private_dir::{Folder, touch};

use crate::limits;

/// Without a process there are no trials: for tests and for trusted models.
#[derive(Default)]
pub struct Trials {
    process: Option<TrialProcess>,
    good: Mutex<BTreeMap<Name, TrialReport>>,
    /// The results of this user's other processes and of earlier starts.
    folder: Option<Folder>,
}

/// The name of a trial: a hash of everything its outcome depends on.
type Name = String;

impl Trials {
    /// Stores the results in the folder, if any.
    pub fn with(process: TrialProcess, folder: Option<Folder>) -> Self {
        Self { process: Some(process), good: Mutex::default(), folder }
    }

    /// Tries the model unless its result is known. Returns the result, or `None` without a trial process.
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
            // A repeated trial costs little time.
            good.clear();
        }
        good.insert(name, loaded);
    }

    fn read(&self, name: &Name) -> Option<TrialReport> {
        let (bytes, file) = self.folder.as_ref()?.read(name, limits::TRIAL_NOTE).ok()??;
        let memory = std::str::from_utf8(&bytes).ok()?.strip_prefix(NOTE)?.strip_suffix('\n')?.parse().ok()?;
        // A failure only causes an early removal, and a repeated trial.
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
            tracing::warn!("cannot store the result of a trial, so it will be repeated: {fault}");
        }
    }
}

/// The text of a note before the model's memory in bytes.
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
    fn a_stored_result_is_found_and_other_files_are_rejected() {
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
