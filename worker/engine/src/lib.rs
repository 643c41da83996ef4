//! Runs ONNX models: one trait, and behind it ONNX Runtime, or tract where the feature `tract` is on.
//!
//! It promises that whoever calls it needs to know tensors and nothing of a runtime: a [`Network`] is one
//! model, a [`Model`] is one thread's own session of it, and every fault is a sentence for the one who can
//! mend it. Inputs are read where they lie and outputs are lent where they lie; no tensor is copied on its way.
//! It must never panic on a bad library, a bad model or a bad tensor, and never know of plugins, catalogs or buses.

mod backend;
mod convert;
mod deadline;
#[cfg(any(test, feature = "fake"))]
mod fake;
mod fault;
mod few;
mod heap;
pub mod limits;
mod model;
mod opsets;
mod ort_backend;
mod runtime;
mod screen;
mod sharing;
mod signature;
mod stack;
#[cfg(feature = "tract")]
mod tract_backend;
mod trial;
mod warm_up;

pub use backend::Backend;
pub use deadline::stuck_runs;
#[cfg(feature = "fake")]
pub use fake::FakeNetwork;
pub use fault::{EngineFault, ModelFault};
pub use heap::give_back_memory;
pub use model::{Model, Network};
pub use opsets::opsets;
pub use ort_backend::{Allow, OnnxNetwork, Options, Provider, Sharing, examine};
pub use runtime::{Runtime, load_runtime};
pub use sharing::{NoStack, can_stack};
pub use signature::{Dim, Port, Signature};
pub use stack::{Stack, Stacks};
#[cfg(feature = "tract")]
pub use tract_backend::TractNetwork;
pub use trial::{Loaded, TrialBounds, TrialProcess, load_child};
pub use warm_up::warm_up;
