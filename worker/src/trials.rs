//! Which models were tried: each is loaded in a process of its own first, once while this process lives.
//!
//! Promises: what this process loads has survived a process like it, with the same options. It blocks, so it must never
//! happen on a lane or on the bus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use inferbus_catalog::Digest;
use inferbus_engine::{Backend, EngineFault, Loaded, Options, TrialProcess};

use crate::limits;

/// Without a process, models are not tried: for tests and for models that can be trusted.
#[derive(Default)]
pub struct Trials {
    process: Option<TrialProcess>,
    good: Mutex<BTreeMap<Digest, Vec<(Options, Loaded)>>>,
}

impl Trials {
    pub fn with(process: TrialProcess) -> Self {
        Self { process: Some(process), good: Mutex::default() }
    }

    /// Tries the model unless that was done before. Says what it takes, as far as that is known.
    pub fn survives(
        &self,
        backend: &Backend,
        digest: Digest,
        model: &[u8],
        options: Options,
    ) -> Result<Option<Loaded>, EngineFault> {
        let Some(process) = &self.process else { return Ok(None) };
        if let Some(loaded) = self.known(&digest, options) {
            return Ok(Some(loaded));
        }
        let started = Instant::now();
        let loaded = process.load(backend, model, options)?;
        let milliseconds = started.elapsed().as_millis();
        tracing::debug!(%digest, milliseconds, memory = loaded.memory, "the model survived its trial");
        self.remember(digest, options, loaded);
        Ok(Some(loaded))
    }

    fn known(&self, digest: &Digest, options: Options) -> Option<Loaded> {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let tried = good.get(digest)?.iter().find(|(tried, _)| *tried == options)?;
        Some(tried.1)
    }

    fn remember(&self, digest: Digest, options: Options, loaded: Loaded) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= limits::TRIALS {
            // Being tried again costs a moment.
            good.clear();
        }
        let tried = good.entry(digest).or_default();
        if tried.len() < limits::TRIALS_OF_ONE {
            tried.push((options, loaded));
        }
    }
}
