//! What one plugin may use, and the most that any entry may ask for.

use std::time::Duration;

use crate::limits;

/// The bounds of one plugin's calls. The stack is not among them: it is the same for all, see
/// [`limits::STACK`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub memory: usize,
    pub time: Duration,
    pub output: usize,
    pub emits: u32,
    pub emit_bytes: usize,
    pub log_lines: u32,
    pub log_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            memory: limits::MEMORY,
            time: limits::TIME,
            output: limits::OUTPUT,
            emits: limits::EMITS,
            emit_bytes: limits::EMIT_BYTES,
            log_lines: limits::LOG_LINES,
            log_bytes: limits::LOG_BYTES,
        }
    }
}

/// What the worker's operator allows: the largest bounds an entry may ask for, and instances alive at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceilings {
    pub bounds: Bounds,
    pub instances: u32,
}

impl Default for Ceilings {
    fn default() -> Self {
        Self {
            bounds: Bounds {
                memory: limits::MEMORY_CEILING,
                time: limits::TIME_CEILING,
                output: limits::OUTPUT_CEILING,
                emits: limits::EMITS_CEILING,
                emit_bytes: limits::EMIT_BYTES_CEILING,
                log_lines: limits::LOG_LINES_CEILING,
                log_bytes: limits::LOG_BYTES_CEILING,
            },
            instances: limits::INSTANCES,
        }
    }
}

impl Ceilings {
    /// What an entry gets where it asks for nothing: the defaults, where a ceiling is not lower.
    pub fn defaults(&self) -> Bounds {
        let (bounds, most) = (Bounds::default(), &self.bounds);
        Bounds {
            memory: bounds.memory.min(most.memory),
            time: bounds.time.min(most.time),
            output: bounds.output.min(most.output),
            emits: bounds.emits.min(most.emits),
            emit_bytes: bounds.emit_bytes.min(most.emit_bytes),
            log_lines: bounds.log_lines.min(most.log_lines),
            log_bytes: bounds.log_bytes.min(most.log_bytes),
        }
    }
}
