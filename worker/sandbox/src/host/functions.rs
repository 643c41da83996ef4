//! The ring: the two host functions that a plugin may be granted, `log` and `emit`. Nothing else exists for it.
//!
//! Promises: every pointer is checked against the guest's memory, everything is copied out before the guest
//! runs on, and misuse ends the call with a fault.

use wasmtime::{Caller, Engine, Extern, Linker};

use super::fault::Fault;
use super::log::LogLevel;
use super::state::HostState;

pub(crate) const MODULE: &str = "inferbus";
pub(crate) const LOG: &str = "log";
pub(crate) const EMIT: &str = "emit";

/// What `emit` tells the guest. Other values are reserved, because every misuse ends the call.
const EMITTED: u32 = 0;

/// Which of the ring's functions an entry gives to a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    pub log: bool,
    pub emit: bool,
}

pub(crate) fn linker(engine: &Engine, grants: Grants) -> wasmtime::Result<Linker<HostState>> {
    let mut linker = Linker::new(engine);
    if grants.log {
        linker.func_wrap(MODULE, LOG, log)?;
    }
    if grants.emit {
        linker.func_wrap(MODULE, EMIT, emit)?;
    }
    Ok(linker)
}

fn log(mut caller: Caller<'_, HostState>, level: u32, ptr: u32, len: u32) -> wasmtime::Result<()> {
    let (memory, state) = memory_and_state(&mut caller)?;
    let text = slice(memory, "a log text", ptr, len)?;
    state.log.push(LogLevel::from_number(level), text, &state.bounds);
    Ok(())
}

fn emit(
    mut caller: Caller<'_, HostState>,
    topic_ptr: u32,
    topic_len: u32,
    ptr: u32,
    len: u32,
) -> wasmtime::Result<u32> {
    let (memory, state) = memory_and_state(&mut caller)?;
    if !state.in_message {
        return Err(Fault::EmitOutsideMessage.into());
    }
    let topic = slice(memory, "an emit's topic", topic_ptr, topic_len)?;
    let payload = slice(memory, "an emit's payload", ptr, len)?;
    state.emits.push(topic, payload, &state.bounds)?;
    Ok(EMITTED)
}

fn memory_and_state<'a>(caller: &'a mut Caller<'_, HostState>) -> wasmtime::Result<(&'a mut [u8], &'a mut HostState)> {
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory.data_and_store_mut(caller)),
        _ => Err(Fault::Host("its memory is gone".into()).into()),
    }
}

/// The guest's bytes from `ptr` on, or the fault that names `what` lies outside.
pub(crate) fn slice<'a>(memory: &'a [u8], what: &'static str, ptr: u32, len: u32) -> Result<&'a [u8], Fault> {
    let start = ptr as usize;
    let end = start.checked_add(len as usize);
    end.and_then(|end| memory.get(start..end)).ok_or(Fault::BadPointer { what, ptr, len, memory: memory.len() })
}
