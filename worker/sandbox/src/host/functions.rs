//! The two host functions, `log` and `emit`. An entry grants them individually; plugins cannot import anything else.
//!
//! Guarantees: every pointer is checked against the guest's memory. Data is copied before the guest continues. Misuse
//! ends the call with a fault.

use wasmtime::{Caller, Engine, Extern, Linker};

use super::fault::Fault;
use super::log::LogLevel;
use super::state::HostState;

pub(crate) const MODULE: &str = "inferbus";
pub(crate) const LOG: &str = "log";
pub(crate) const EMIT: &str = "emit";

/// The result of `emit` in the guest. Other values are reserved: misuse ends the call instead.
const EMITTED: u32 = 0;

/// The host functions granted to a plugin by its entry.
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
        _ => Err(Fault::Host("its memory is not exported".into()).into()),
    }
}

/// `len` bytes of the guest at `ptr`, or a fault with the name `what` if they are outside its memory.
pub(crate) fn slice<'a>(memory: &'a [u8], what: &'static str, ptr: u32, len: u32) -> Result<&'a [u8], Fault> {
    let start = ptr as usize;
    let end = start.checked_add(len as usize);
    end.and_then(|end| memory.get(start..end)).ok_or(Fault::BadPointer { what, ptr, len, memory: memory.len() })
}
