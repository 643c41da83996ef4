//! One live WebAssembly instance: made, initialised, given one message.
//!
//! Promises: it is used for one message at most, and every part of that has a deadline. Each step's order is
//! the contract's: start function, `init`, `alloc`, the input, `transform`.

use inferbus_abi::{ALIGNMENT, Returned};
use wasmtime::{Instance, Memory, Store, TypedFunc, WasmParams, WasmResults};

use crate::clock;
use crate::fault::Fault;
use crate::plugin::Loaded;
use crate::ring;
use crate::state::State;
use crate::text::host_text;

pub(crate) struct Live {
    store: Store<State>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    transform: TypedFunc<(u32, u32), u64>,
    init: Option<TypedFunc<(u32, u32), i32>>,
}

impl Live {
    /// Makes the instance, which runs its start function.
    pub(crate) fn start(plugin: &Loaded) -> Result<Self, Fault> {
        let mut store =
            Store::new(plugin.module.module().engine(), State::new(plugin.bounds.clone(), plugin.instances));
        store.limiter(|state| state);
        store.epoch_deadline_callback(clock::expired);
        clock::arm(&mut store);
        let instance =
            plugin.module.instantiate(&mut store).map_err(|error| Fault::from_wasmtime(error, store.data()))?;
        let exports = &plugin.exports;
        let memory = instance.get_module_export(&mut store, &exports.memory).and_then(wasmtime::Extern::into_memory);
        Ok(Self {
            memory: memory.ok_or_else(gone)?,
            alloc: function(&mut store, &instance, &exports.alloc)?,
            transform: function(&mut store, &instance, &exports.transform)?,
            init: exports.init.as_ref().map(|init| function(&mut store, &instance, init)).transpose()?,
            store,
        })
    }

    pub(crate) fn init(&mut self, config: &[u8]) -> Result<(), Fault> {
        let Some(init) = self.init.clone() else {
            return Ok(());
        };
        let (ptr, len) = self.place(config.len(), &mut |room| room.copy_from_slice(config))?;
        match init.call(&mut self.store, (ptr, len)) {
            Ok(0) => Ok(()),
            Ok(code) => Err(Fault::InitRefused { code }),
            Err(error) => Err(Fault::from_wasmtime(error, self.store.data())),
        }
    }

    /// Runs `transform` on one message. What came before, down to its log, does not count for the message.
    pub(crate) fn message(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Returned, Fault> {
        let state = self.store.data_mut();
        *state = State::new(state.bounds.clone(), state.instances);
        state.in_message = true;
        clock::arm(&mut self.store);
        let input = self.place(len, fill)?;
        let packed = self
            .transform
            .call(&mut self.store, input)
            .map_err(|error| Fault::from_wasmtime(error, self.store.data()))?;
        Ok(Returned::from_packed(packed.cast_signed()))
    }

    /// Has the guest make room and writes the input there.
    fn place(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(u32, u32), Fault> {
        let limit = self.store.data().bounds.memory;
        let guest_len = u32::try_from(len).map_err(|_| Fault::OutOfMemory { limit })?;
        let ptr = self
            .alloc
            .call(&mut self.store, guest_len)
            .map_err(|error| Fault::from_wasmtime(error, self.store.data()))?;
        if ptr == 0 && self.store.data().memory_denied {
            return Err(Fault::OutOfMemory { limit });
        }
        let bad = Fault::BadAlloc { len: guest_len, ptr };
        let start = ptr as usize;
        if !start.is_multiple_of(ALIGNMENT) || (ptr == 0 && len > 0) {
            return Err(bad);
        }
        let end = start.checked_add(len).ok_or(bad.clone())?;
        let room = self.memory.data_mut(&mut self.store).get_mut(start..end).ok_or(bad)?;
        fill(room);
        Ok((ptr, guest_len))
    }

    pub(crate) fn bytes(&self, what: &'static str, ptr: u32, len: u32) -> Result<&[u8], Fault> {
        ring::slice(self.memory.data(&self.store), what, ptr, len)
    }

    pub(crate) fn state(&self) -> &State {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        self.store.data_mut()
    }
}

fn function<P: WasmParams, R: WasmResults>(
    store: &mut Store<State>,
    instance: &Instance,
    export: &wasmtime::ModuleExport,
) -> Result<TypedFunc<P, R>, Fault> {
    let function =
        instance.get_module_export(&mut *store, export).and_then(wasmtime::Extern::into_func).ok_or_else(gone)?;
    function.typed(&*store).map_err(|error| Fault::Host(host_text(&error)))
}

/// Inspection found every export, so this is a defect of the sandbox.
fn gone() -> Fault {
    Fault::Host("an export that inspection found is gone".into())
}
