//! The interface of a model for the rest of the worker.

use inferbus_abi::frame::Tensor;

use crate::{EngineFault, ModelFault, Signature};

/// One loaded model, shared by all threads.
pub trait Network: Send + Sync {
    fn signature(&self) -> &Signature;

    /// Whether all sessions are the same one, so that one warm-up suffices.
    fn is_shared(&self) -> bool {
        false
    }

    /// A session for one thread. Its large parts may be shared with other sessions.
    fn session(&self) -> Result<Box<dyn Model>, EngineFault>;
}

/// One thread's session of a model.
pub trait Model: Send {
    /// Runs the model and lends its outputs to `take`, once, in the order of the signature.
    ///
    /// Inputs are found by name, in any order. A single unnamed tensor is the input of a model with one input.
    /// After a fault, `take` was not called, and the session is ready for the next run.
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault>;
}
