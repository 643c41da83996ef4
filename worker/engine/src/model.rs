//! What the rest of the worker sees of a model.

use inferbus_abi::frame::Tensor;

use crate::{EngineFault, ModelFault, Signature};

/// One model, ready to be run: loaded once, shared by all threads.
pub trait Network: Send + Sync {
    fn signature(&self) -> &Signature;

    /// Whether all sessions are one underneath, so that what one was warmed up with all are.
    fn is_shared(&self) -> bool {
        false
    }

    /// A session for one thread; what is large in it may be shared with others.
    fn session(&self) -> Result<Box<dyn Model>, EngineFault>;
}

/// One thread's session of a model.
pub trait Model: Send {
    /// Runs the model and lends its outputs to `take`, once, in the order of the signature.
    ///
    /// Inputs are found by name, in any order; a single unnamed tensor is the input of a model that has one.
    /// After a fault `take` was not called, and the session serves the next run as if nothing had happened.
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault>;
}
