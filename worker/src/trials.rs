//! Which models were tried: each is loaded in a process of its own first, once while this process lives.
//!
//! Promises: what this process loads has survived a process like it, with the same options. It blocks, so it must never
//! happen on a lane or on the bus.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use inferbus_catalog::Digest;
use inferbus_engine::{Backend, EngineFault, Options, TrialProcess};

use crate::limits;

/// Without a process, models are not tried: for tests and for models that can be trusted.
#[derive(Default)]
pub struct Trials {
    process: Option<TrialProcess>,
    good: Mutex<BTreeMap<Digest, Vec<Options>>>,
}

impl Trials {
    pub fn with(process: TrialProcess) -> Self {
        Self { process: Some(process), good: Mutex::default() }
    }

    /// Tries the model unless that was done before.
    pub fn survives(
        &self,
        backend: &Backend,
        digest: Digest,
        model: &[u8],
        options: Options,
    ) -> Result<(), EngineFault> {
        let Some(process) = &self.process else { return Ok(()) };
        if self.is_known(&digest, options) {
            return Ok(());
        }
        let started = Instant::now();
        let loaded = process.load(backend, model, options)?;
        let milliseconds = started.elapsed().as_millis();
        tracing::debug!(%digest, milliseconds, memory = loaded.memory, "the model survived its trial");
        self.remember(digest, options);
        Ok(())
    }

    fn is_known(&self, digest: &Digest, options: Options) -> bool {
        let good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        good.get(digest).is_some_and(|tried| tried.contains(&options))
    }

    fn remember(&self, digest: Digest, options: Options) {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= limits::TRIALS {
            // Being tried again costs a moment.
            good.clear();
        }
        let tried = good.entry(digest).or_default();
        if tried.len() < limits::TRIALS_OF_ONE {
            tried.push(options);
        }
    }
}
