//! The background thread: the catalog, the service answers, health and metrics.
//!
//! Hashing a large artifact or writing many metrics never delays a message.

use anyhow::Context as _;
use tokio::runtime::{Handle, Runtime};

pub(super) struct Background {
    pub(super) tasks: Handle,
    runtime: Option<Runtime>,
}

impl Background {
    pub(super) fn start() -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("background").enable_all().build();
        let runtime = runtime.context("the background thread cannot be started")?;
        Ok(Self { tasks: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // A load in progress must not keep the process alive.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
