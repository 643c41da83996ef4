//! The host's data for one live instance: its bounds, its use of them, and its output.

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
    /// The worker's limit on live instances, for the fault text.
    pub(crate) instances: u32,
    /// Whether a request of the guest for memory was denied. Most guests trap soon after.
    pub(crate) memory_denied: bool,
    /// False during instantiation and `init`. Emits need a message.
    pub(crate) in_message: bool,
    /// The thread's processor time at the first tick of the call.
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

    /// Converts an error of Wasmtime. Faults of host functions pass unchanged. A trap after a denied `memory.grow`
    /// counts as out of memory, because allocators in guests trap when an allocation fails.
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
