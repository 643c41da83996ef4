//! The bounds of one compilation.

use std::time::Duration;

use crate::limits;

/// The bounds of one compilation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileBounds {
    /// Bytes of address space.
    pub memory: u64,
    /// In whole seconds.
    pub processor_time: Duration,
    /// Elapsed time, even on a busy machine.
    pub time: Duration,
    /// Bytes of machine code.
    pub output: usize,
}

impl Default for CompileBounds {
    fn default() -> Self {
        Self {
            memory: limits::COMPILE_MEMORY,
            processor_time: limits::COMPILE_PROCESSOR_TIME,
            time: limits::COMPILE_TIME,
            output: limits::COMPILED_BYTES,
        }
    }
}
