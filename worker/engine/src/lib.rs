//! Runs ONNX models behind one trait, on ONNX Runtime or, with the feature `tract`, on tract.
//!
//! Callers handle tensors and never a runtime. A [`Network`] is one model, a [`Model`] is one thread's session of it.
//! Every fault is a sentence with a remedy.
//!
//! Guarantees: tensors are not copied; inputs are read and outputs are lent in place.
//!
//! It must never panic on a bad library, model or tensor. It must never depend on plugins, catalogs or NATS.

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
