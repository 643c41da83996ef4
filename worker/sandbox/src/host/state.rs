//! What the host keeps beside one live instance: its bounds, what it used of them, and what it wrote.

use std::time::Duration;

use wasmtime::ResourceLimiter;

use crate::bounds::Bounds;
use crate::host::functions::Emit;
use crate::host::log::LogBuffer;
use crate::limits;

pub(crate) struct State {
    pub(crate) bounds: Bounds,
    /// Instances that the whole worker may have alive.
    pub(crate) instances: u32,
    /// Whether the guest asked for more memory than it may have. Most traps soon after.
    pub(crate) memory_denied: bool,
    /// False while the instance is made and initialised: there is nothing to emit beside yet.
    pub(crate) in_message: bool,
    /// The thread's processor time at the first tick after the guest began.
    pub(crate) busy_since: Option<Duration>,
    pub(crate) log: LogBuffer,
    pub(crate) emits: Vec<Emit>,
    pub(crate) emit_bytes: usize,
}

impl State {
    pub(crate) fn new(bounds: Bounds, instances: u32) -> Self {
        Self {
            bounds,
            instances,
            memory_denied: false,
            in_message: false,
            busy_since: None,
            log: LogBuffer::default(),
            emits: Vec::new(),
            emit_bytes: 0,
        }
    }
}

impl ResourceLimiter for State {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.bounds.memory;
        self.memory_denied |= !allowed || maximum.is_some_and(|maximum| desired > maximum);
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= limits::TABLE_ELEMENTS as usize)
    }
}
