//! Runs ONNX models: one trait, and behind it ONNX Runtime, or tract where the feature `tract` is on.
//!
//! It promises that whoever calls it needs to know tensors and nothing of a runtime: a [`Network`] is one
//! model, a [`Model`] is one thread's own session of it, and every fault is a sentence for the one who can
//! mend it. Inputs are read where they lie and outputs are lent where they lie; no tensor is copied on its way.
//! It must never panic on a bad library, a bad model or a bad tensor, and never know of plugins, catalogs or buses.

mod backend;
mod batch;
mod fault;
mod heap;
pub mod limits;
mod model;
mod model_file;
mod options;
mod signature;
mod trial;
mod warm_up;

#[cfg(feature = "fake")]
pub use backend::FakeNetwork;
#[cfg(feature = "tract")]
pub use backend::TractNetwork;
pub use backend::{Backend, OnnxNetwork, Runtime, load_runtime, stuck_runs};
pub use batch::{NoStack, Stack, Stacks, can_stack};
pub use fault::{EngineFault, ModelFault};
pub use heap::give_back_memory;
pub use model::{Model, Network};
pub use model_file::{examine, opsets};
pub use options::{Allow, Options, Provider, Sharing};
pub use signature::{Dim, Port, Signature};
pub use trial::{TrialBounds, TrialProcess, TrialReport, load_child};
pub use warm_up::warm_up;
