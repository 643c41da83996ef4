//! The workloads' transforms compiled into the worker: the functions of the plugins, without a sandbox.

mod stages;
mod transform;

use std::sync::OnceLock;

use inferbus_pipeline::{Stage, Transform};

pub use self::transform::Both;

/// The workload of this process.
static CHOSEN: OnceLock<Both> = OnceLock::new();

/// Sets the workload of [`transform`]. False if it does not exist.
pub fn choose(workload: &str) -> bool {
    both(workload).is_some_and(|both| CHOSEN.set(both).is_ok())
}

/// The stage for [`inferbus::models::bundle::Loader::transform`]: of the chosen workload, or of the digits.
pub fn transform(stage: Stage) -> Box<dyn Transform> {
    CHOSEN.get().copied().unwrap_or(stages::DIGITS).stage(stage)
}

pub fn both(workload: &str) -> Option<Both> {
    stages::of(workload)
}
