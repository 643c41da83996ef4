//! The executable parts of a bundle on one lane: plugin instances and an ONNX session.

use inferbus_engine::Model;
use inferbus_sandbox::{Fault, Instance, LogLine, Reply};

use crate::plan::Plan;

/// One step around the model. Workers run a sandboxed plugin; a benchmark substitutes native code to measure the
/// sandbox.
pub trait Transform: Send {
    /// Reserves `len` bytes of input, lets `fill` write all of them, and runs the transform.
    fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault>;
}

impl Transform for Instance {
    fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault> {
        Self::call(self, len, fill, log)
    }
}

/// One lane's private parts of a bundle. A step of the plan has its part here, and no other part exists.
pub struct Parts {
    pub plan: Plan,
    pub pre: Option<Box<dyn Transform>>,
    pub model: Box<dyn Model>,
    pub post: Option<Box<dyn Transform>>,
}

impl Parts {
    /// The parts of the chain `pre → model → post`.
    pub fn chain(pre: Option<Box<dyn Transform>>, model: Box<dyn Model>, post: Option<Box<dyn Transform>>) -> Self {
        Self { plan: Plan::chain(pre.is_some(), post.is_some()), pre, model, post }
    }
}
