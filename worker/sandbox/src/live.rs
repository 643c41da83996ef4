//! One live WebAssembly instance: instantiation, `init`, messages, and the rewind to its state after `init`.
//!
//! Guarantees: the instance is rewound between two messages, and every step has a deadline. The order of steps follows
//! the ABI: start function, `init`, `alloc`, the input, `transform`.

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

/// The compiled module and the bounds of its instances.
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
    /// The globals to restore, exported by the rewritten module.
    pub(crate) globals: Vec<ModuleExport>,
}

/// The start of every message of a rewound plugin, shared by its lanes.
pub(crate) struct RewindStart {
    pub(crate) image: Image,
    pub(crate) learned: LearnedPages,
}

pub(crate) struct LiveInstance {
    /// Must stay before the store, to be dropped first: `watch.rs` depends on it.
    watch: Option<Watch>,
    store: Store<HostState>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    transform: TypedFunc<(u32, u32), u64>,
    init: Option<TypedFunc<(u32, u32), i32>>,
    /// The globals that a message can change.
    globals: Box<[Global]>,
}

impl LiveInstance {
    /// Creates the instance and runs its start function.
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

    /// Creates an instance in the state of the image, without a run of `init`.
    pub(crate) fn instantiate_restored(plugin: &CompiledPlugin, start: &RewindStart) -> Result<Self, Fault> {
        let mut live = Self::instantiate(plugin)?;
        let missing = start.image.bytes().saturating_sub(live.memory_bytes()) as u64;
        let pages = missing / live.memory.page_size(&live.store);
        live.memory.grow(&mut live.store, pages).map_err(|error| Fault::Host(host_text(&error)))?;
        live.restore(start)?.ok_or_else(|| Fault::Host("its memory does not have the size of the image".into()))
    }

    /// Restores the state after `init`, and watches the writes of the next messages. The watch starts with the second
    /// message, so instances with a single use do not pay for it.
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

    /// `None` after a growth of memory, because the old size cannot be restored.
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

    /// The current state, as the target of rewinds.
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

    /// Runs `transform` on one message, with new counts of time, logs and emits.
    pub(crate) fn run_message(&mut self, len: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<Returned, Fault> {
        let state = self.store.data_mut();
        *state = HostState::new(state.bounds.clone(), state.instances);
        state.in_message = true;
        clock::start(&mut self.store);
        let input = self.write_input(len, fill)?;
        let packed = self.transform.call(&mut self.store, input).map_err(|error| self.store.data().fault(error))?;
        Ok(Returned::from_packed(packed.cast_signed()))
    }

    /// Calls `alloc` and writes the input to its result.
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
            return Err(Fault::Host("the system refused write access to its memory".into()));
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

/// A defect of the sandbox, because inspection has found every export.
fn missing_export() -> Fault {
    Fault::Host("an inspected export is missing".into())
}
