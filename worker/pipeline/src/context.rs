//! The pipeline's only view of the world: the clock, the log and the trace.

use std::time::Instant;

use inferbus_sandbox::LogLine;

use crate::plan::Stage;

/// The tracing target of message spans; logs leave it out.
pub const SPAN_TARGET: &str = "inferbus::message";

pub trait Context {
    fn now(&self) -> Instant;
    fn log(&self, stage: Stage, line: LogLine<'_>);
    /// The model ran once, for this number of messages.
    fn model_ran(&self, _messages: usize) {}
    /// A step of a message ended before the next one begins. Crash tests stop the process here.
    fn step_ended(&self, _stage: Stage, _payload: &[u8]) {}
}
