//! One plugin, ready to be called: inspected, compiled, and started once to see that it can.

use std::sync::Arc;

use wasmtime::{InstancePre, Module, ModuleExport};

use crate::bounds::Bounds;
use crate::call::Instance;
use crate::engine::Sandbox;
use crate::inspect::{Inspection, inspect};
use crate::live::Live;
use crate::load_fault::LoadFault;
use crate::log::{LogLevel, LogLine, borrowed};
use crate::ring::{self, Grants};
use crate::state::State;
use crate::text::host_text;

/// A plugin of one artifact with one config; clones share it.
#[derive(Clone)]
pub struct Plugin(Arc<Loaded>);

pub(crate) struct Loaded {
    pub(crate) module: InstancePre<State>,
    pub(crate) exports: Exports,
    pub(crate) bounds: Bounds,
    pub(crate) instances: u32,
    pub(crate) config: Vec<u8>,
    inspection: Inspection,
    init_log: Vec<(LogLevel, String)>,
}

pub(crate) struct Exports {
    pub(crate) memory: ModuleExport,
    pub(crate) alloc: ModuleExport,
    pub(crate) transform: ModuleExport,
    pub(crate) init: Option<ModuleExport>,
}

impl Plugin {
    /// Inspects, compiles, and runs the start function and `init` once. `config` is JSON, or empty where the
    /// entry has none. This takes as long as the compiler does: never call it where messages wait.
    pub fn load(
        sandbox: &Sandbox,
        wasm: &[u8],
        grants: Grants,
        bounds: Bounds,
        config: &[u8],
    ) -> Result<Self, LoadFault> {
        bounds.check_within(&sandbox.ceilings().bounds)?;
        let inspection = inspect(wasm, grants)?;
        if inspection.initial_memory > bounds.memory as u64 {
            return Err(LoadFault::MemoryOverLimit { initial: inspection.initial_memory, limit: bounds.memory });
        }
        if !config.is_empty() && !inspection.has_init {
            return Err(LoadFault::UnusedConfig);
        }
        let module = compile(sandbox, wasm, grants).map_err(|error| LoadFault::Compile(host_text(&error)))?;
        let mut loaded = Loaded {
            exports: Exports::of(module.module())?,
            module,
            bounds,
            instances: sandbox.ceilings().instances,
            config: config.to_vec(),
            inspection,
            init_log: Vec::new(),
        };
        loaded.init_log = start_once(&loaded)?;
        Ok(Self(Arc::new(loaded)))
    }

    /// What one lane uses for one stage. It takes memory with its first call.
    pub fn instance(&self) -> Instance {
        Instance::new(Arc::clone(&self.0))
    }

    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// What the start function and `init` logged when the plugin was loaded.
    pub fn init_log(&self) -> impl Iterator<Item = LogLine<'_>> {
        borrowed(&self.0.init_log)
    }
}

/// `Module::new` reads WebAssembly only. Compiled code has a door of its own, which is `unsafe` and not opened
/// here.
fn compile(sandbox: &Sandbox, wasm: &[u8], grants: Grants) -> wasmtime::Result<InstancePre<State>> {
    let module = Module::new(sandbox.engine(), wasm)?;
    ring::linker(sandbox.engine(), grants)?.instantiate_pre(&module)
}

fn start_once(loaded: &Loaded) -> Result<Vec<(LogLevel, String)>, LoadFault> {
    let mut live = Live::start(loaded).map_err(LoadFault::Start)?;
    let initialised = live.init(&loaded.config);
    let mut log = std::mem::take(&mut live.state_mut().log).into_lines();
    match initialised {
        Ok(()) => Ok(log),
        Err(fault) => Err(LoadFault::Init { fault, last_words: log.pop().map(|(_, text)| text) }),
    }
}

impl Exports {
    fn of(module: &Module) -> Result<Self, LoadFault> {
        let find = |export| module.get_export_index(export).ok_or(LoadFault::MissingExport { export });
        Ok(Self {
            memory: find("memory")?,
            alloc: find("alloc")?,
            transform: find("transform")?,
            init: module.get_export_index("init"),
        })
    }
}
