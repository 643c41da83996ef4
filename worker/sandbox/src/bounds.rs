//! The bounds of one plugin, and the ceilings for the bounds of all entries.

use std::time::Duration;

use crate::limits;

/// The bounds of one plugin's calls. The stack is the same for all plugins, see [`limits::STACK`].
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

/// The operator's ceilings: the largest bounds of an entry, and the number of live instances.
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
    /// The bounds of an entry without limits: the defaults, lowered to the ceilings.
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
