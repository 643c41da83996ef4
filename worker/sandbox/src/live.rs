//! One live WebAssembly instance: made, initialised, given a message, and put back to where `init` left it.
//!
//! Promises: between two messages it is put back, and every part of its life has a deadline. Each step's order is
//! the contract's: start function, `init`, `alloc`, the input, `transform`.

pub(crate) mod image;
pub(crate) mod watch;

use inferbus_abi::{ALIGNMENT, Returned};
use wasmtime::{
    Extern, Global, Instance, InstancePre, Memory, ModuleExport, Store, TypedFunc, WasmParams, WasmResults,
};

use crate::bounds::Bounds;
use crate::host::clock;
use crate::host::fault::Fault;
use crate::host::functions;
use crate::host::state::HostState;
use crate::live::image::Image;
use crate::live::watch::{LearnedPages, Watch};
use crate::text::host_text;

/// What instances are made from.
pub(crate) struct CompiledPlugin {
    pub(crate) module: InstancePre<HostState>,
    pub(crate) exports: PluginExports,
    pub(crate) bounds: Bounds,
    pub(crate) instances: u32,
}

pub(crate) struct PluginExports {
    pub(crate) memory: ModuleExport,
    pub(crate) alloc: ModuleExport,
    pub(crate) transform: ModuleExport,
    pub(crate) init: Option<ModuleExport>,
    /// Those to put back, which the rewritten module exports.
    pub(crate) globals: Vec<ModuleExport>,
}

/// Where every message of a rewound plugin starts, shared by its lanes.
pub(crate) struct RewindStart {
    pub(crate) image: Image,
    pub(crate) learned: LearnedPages,
}

pub(crate) struct LiveInstance {
    /// Must stay before the store, so that it ends first: `watch.rs` depends on it.
    watch: Option<Watch>,
    store: Store<HostState>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    transform: TypedFunc<(u32, u32), u64>,
    init: Option<TypedFunc<(u32, u32), i32>>,
    /// Those that a message can change.
    globals: Box<[Global]>,
}

impl LiveInstance {
    /// Makes the instance, which runs its start function.
    pub(crate) fn instantiate(plugin: &CompiledPlugin) -> Result<Self, Fault> {
        let mut store =
            Store::new(plugin.module.module().engine(), HostState::new(plugin.bounds.clone(), plugin.instances));
        store.limiter(|state| state);
        store.epoch_deadline_callback(clock::on_deadline);
        clock::start(&mut store);
        let instance = plugin.module.instantiate(&mut store).map_err(|error| store.data().fault(error))?;
        let exports = &plugin.exports;
        let memory = instance.get_module_export(&mut store, &exports.memory).and_then(Extern::into_memory);
        let mut global = |export| instance.get_module_export(&mut store, export).and_then(Extern::into_global);
        Ok(Self {
            watch: None,
            globals: exports
                .globals
                .iter()
                .map(|export| global(export).ok_or_else(missing_export))
                .collect::<Result<_, _>>()?,
            memory: memory.ok_or_else(missing_export)?,
            alloc: function(&mut store, &instance, &exports.alloc)?,
            transform: function(&mut store, &instance, &exports.transform)?,
            init: exports.init.as_ref().map(|init| function(&mut store, &instance, init)).transpose()?,
            store,
        })
    }

    /// Makes an instance that is where `init` left the one of the image, without running `init`.
    pub(crate) fn instantiate_restored(plugin: &CompiledPlugin, start: &RewindStart) -> Result<Self, Fault> {
        let mut live = Self::instantiate(plugin)?;
        let missing = start.image.bytes().saturating_sub(live.memory_bytes()) as u64;
        let pages = missing / live.memory.page_size(&live.store);
        live.memory.grow(&mut live.store, pages).map_err(|error| Fault::Host(host_text(&error)))?;
        live.restore(start)?.ok_or_else(|| Fault::Host("its memory did not become what init left".into()))
    }

    /// Puts back what a message can have changed, and watches what the next ones change. An instance that is not used a
    /// second time, because its first message grew memory, never pays for a watch.
    pub(crate) fn rewind(self, start: &RewindStart) -> Result<Option<Self>, Fault> {
        let Some(mut live) = self.restore(start)? else { return Ok(None) };
        if live.watch.as_ref().is_some_and(Watch::is_stale) {
            start.learned.forget();
            live.watch = None;
        }
        if live.watch.is_none() {
            live.watch = Watch::begin(&mut live.store, live.memory, &start.learned);
        }
        Ok(Some(live))
    }

    /// `None` where nothing can be put back, because memory has grown.
    fn restore(mut self, start: &RewindStart) -> Result<Option<Self>, Fault> {
        let RewindStart { image, learned } = start;
        if self.memory_bytes() != image.bytes() {
            return Ok(None);
        }
        let written = self.watch.as_mut().map(|watch| watch.written(learned));
        image.restore(self.memory.data_mut(&mut self.store), written);
        for (global, &value) in self.globals.iter().zip(image.globals()) {
            global.set(&mut self.store, value).map_err(|error| Fault::Host(host_text(&error)))?;
        }
        Ok(Some(self))
    }

    /// What a rewind goes back to from now on.
    pub(crate) fn image(&mut self) -> Image {
        let globals = self.globals.iter().map(|global| global.get(&mut self.store)).collect();
        Image::of(self.memory.data(&self.store), globals)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory.data_size(&self.store)
    }

    pub(crate) fn init(&mut self, config: &[u8]) -> Result<(), Fault> {
        let Some(init) = self.init.clone() else {
            return Ok(());
        };
        let (ptr, len) = self.write_input(config.len(), &mut |room| room.copy_from_slice(config))?;
        match init.call(&mut self.store, (ptr, len)) {
            Ok(0) => Ok(()),
            Ok(code) => Err(Fault::InitRefused { code }),
            Err(error) => Err(self.store.data().fault(error)),
        }
    }

    /// Runs `transform` on one message. What came before, down to its log, does not count for the message.
    pub(crate) fn run_message(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Returned, Fault> {
        let state = self.store.data_mut();
        *state = HostState::new(state.bounds.clone(), state.instances);
        state.in_message = true;
        clock::start(&mut self.store);
        let input = self.write_input(len, fill)?;
        let packed = self.transform.call(&mut self.store, input).map_err(|error| self.store.data().fault(error))?;
        Ok(Returned::from_packed(packed.cast_signed()))
    }

    /// Has the guest make room and writes the input there.
    fn write_input(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(u32, u32), Fault> {
        let limit = self.store.data().bounds.memory;
        let guest_len = u32::try_from(len).map_err(|_| Fault::OutOfMemory { limit })?;
        let ptr = self.alloc.call(&mut self.store, guest_len).map_err(|error| self.store.data().fault(error))?;
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
        if self.watch.as_ref().is_some_and(|watch| !watch.open(start..end)) {
            return Err(Fault::Host("the system did not let its memory be written to".into()));
        }
        fill(room);
        Ok((ptr, guest_len))
    }

    pub(crate) fn bytes(&self, what: &'static str, ptr: u32, len: u32) -> Result<&[u8], Fault> {
        functions::slice(self.memory.data(&self.store), what, ptr, len)
    }

    pub(crate) fn state(&self) -> &HostState {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut HostState {
        self.store.data_mut()
    }
}

fn function<P: WasmParams, R: WasmResults>(
    store: &mut Store<HostState>,
    instance: &Instance,
    export: &ModuleExport,
) -> Result<TypedFunc<P, R>, Fault> {
    let function =
        instance.get_module_export(&mut *store, export).and_then(Extern::into_func).ok_or_else(missing_export)?;
    function.typed(&*store).map_err(|error| Fault::Host(host_text(&error)))
}

/// Inspection found every export, so this is a defect of the sandbox.
fn missing_export() -> Fault {
    Fault::Host("an export that inspection found is gone".into())
}
