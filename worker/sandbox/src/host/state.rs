//! What the host keeps beside one live instance: its bounds, what it used of them, and what it wrote.

use std::time::Duration;

use wasmtime::{PoolConcurrencyLimitError, ResourceLimiter, Trap, WasmBacktrace};

use super::emit::EmitBuffer;
use super::fault::{Fault, TrapKind};
use super::log::LogBuffer;
use crate::bounds::Bounds;
use crate::limits;
use crate::text::{host_text, printable};

pub(crate) struct HostState {
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
    pub(crate) emits: EmitBuffer,
}

impl HostState {
    pub(crate) fn new(bounds: Bounds, instances: u32) -> Self {
        Self {
            bounds,
            instances,
            memory_denied: false,
            in_message: false,
            busy_since: None,
            log: LogBuffer::default(),
            emits: EmitBuffer::default(),
        }
    }

    /// A host function's own fault comes back as it is; a trap after a denied `memory.grow` is a want of
    /// memory, because that is how allocators in guests give up.
    pub(crate) fn fault(&self, error: wasmtime::Error) -> Fault {
        let error = match error.downcast::<Fault>() {
            Ok(fault) => return fault,
            Err(error) => error,
        };
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Fault::OutOfTime { limit: self.bounds.time },
            Some(Trap::StackOverflow) => Fault::StackOverflow,
            _ if self.memory_denied => Fault::OutOfMemory { limit: self.bounds.memory },
            Some(trap) => Fault::Trap { kind: TrapKind::from(*trap), functions: functions(&error) },
            None if error.is::<PoolConcurrencyLimitError>() => Fault::NoInstance { limit: self.instances },
            None => Fault::Host(host_text(&error)),
        }
    }
}

impl ResourceLimiter for HostState {
    fn memory_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let allowed = desired <= self.bounds.memory;
        self.memory_denied |= !allowed || maximum.is_some_and(|maximum| desired > maximum);
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= limits::TABLE_ELEMENTS as usize)
    }
}

fn functions(error: &wasmtime::Error) -> Vec<String> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    frames
        .iter()
        .filter_map(|frame| frame.func_name())
        .map(|name| printable(name.as_bytes(), limits::QUOTED_BYTES))
        .collect()
}
