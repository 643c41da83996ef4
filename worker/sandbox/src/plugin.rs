//! One plugin, ready for calls: inspected, compiled, and initialised once as a test.

use std::borrow::Cow;
use std::sync::Arc;

use wasmtime::Module;

use crate::bounds::{Bounds, Ceilings};
use crate::engine::Sandbox;
use crate::host::functions::{self, Grants};
use crate::host::log::{LogLevel, LogLine, as_log_lines};
use crate::live::watch::LearnedPages;
use crate::live::{CompiledPlugin, LiveInstance, PluginExports, RewindStart};
use crate::load::examine::examine;
use crate::load::inspect::{Inspection, invalid};
use crate::load::load_fault::LoadFault;
use crate::load::rewrite;
use crate::load::strategy::{Because, Plan, Strategy, plan};
use crate::machine_code::{self, Compiler, Origin, Source};
use crate::text::host_text;

/// A plugin of one artifact with one config. Clones share it.
#[derive(Clone)]
pub struct Plugin(pub(crate) Arc<LoadedPlugin>);

pub(crate) struct LoadedPlugin {
    pub(crate) compiled: CompiledPlugin,
    pub(crate) config: Vec<u8>,
    pub(crate) reset: Reset,
    inspection: Inspection,
    init_log: Vec<(LogLevel, String)>,
    origin: Origin,
}

/// The way back to the state after `init`, for the next message.
pub(crate) enum Reset {
    Rewind(RewindStart),
    Fresh(Because),
}

/// [`examine`], and then a compilation as in [`Plugin::load`], with its result dropped.
pub fn try_compile(
    wasm: &[u8],
    grants: Grants,
    bounds: &Bounds,
    ceilings: &Ceilings,
    has_config: bool,
    compiler: &Compiler,
) -> Result<Inspection, LoadFault> {
    let inspection = examine(wasm, grants, bounds, ceilings, has_config)?;
    let plan = plan(wasm).map_err(invalid)?;
    compiler.compile(&rewritten(wasm, &plan)?)?;
    Ok(inspection)
}

impl Plugin {
    /// Inspects and compiles the module, and runs the start function and `init` once. `config` is JSON, or empty
    /// without a config in the entry. Compilation is slow: never call this on a thread with messages.
    pub fn load(
        sandbox: &Sandbox,
        wasm: &[u8],
        grants: Grants,
        bounds: Bounds,
        config: &[u8],
    ) -> Result<Self, LoadFault> {
        let inspection = examine(wasm, grants, &bounds, sandbox.ceilings(), !config.is_empty())?;
        let plan = plan(wasm).map_err(invalid)?;
        let (compiled, origin) = compile(sandbox, wasm, config, &plan, grants, bounds)?;
        let (mut live, init_log) = start_once(&compiled, config)?;
        let reset = match plan {
            Plan::Rewind(_) => Reset::Rewind(RewindStart { image: live.image(), learned: LearnedPages::default() }),
            Plan::Fresh(because) => Reset::Fresh(because),
        };
        Ok(Self(Arc::new(LoadedPlugin { compiled, config: config.to_vec(), reset, inspection, init_log, origin })))
    }

    pub fn inspection(&self) -> &Inspection {
        &self.0.inspection
    }

    /// The origin of the machine code: compiler or cache.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    /// The strategy between two messages of a lane, with its reason.
    pub fn strategy(&self) -> Strategy {
        match &self.0.reset {
            Reset::Rewind(RewindStart { image, .. }) => {
                Strategy::Rewind { memory: image.bytes(), globals: image.globals().len() }
            }
            Reset::Fresh(because) => Strategy::Fresh { because: *because },
        }
    }

    /// The log lines of the start function and `init` at load.
    pub fn init_log(&self) -> impl Iterator<Item = LogLine<'_>> {
        as_log_lines(&self.0.init_log)
    }
}

fn compile(
    sandbox: &Sandbox,
    wasm: &[u8],
    config: &[u8],
    plan: &Plan,
    grants: Grants,
    bounds: Bounds,
) -> Result<(CompiledPlugin, Origin), LoadFault> {
    let engine = sandbox.engine();
    let source = Source { wasm, config, globals: plan.globals() };
    let (module, origin) =
        machine_code::obtain(engine, sandbox.compiler(), sandbox.cache(), &source, || rewritten(wasm, plan))?;
    let linked = functions::linker(engine, grants).and_then(|linker| linker.instantiate_pre(&module));
    let linked = linked.map_err(|error| LoadFault::Compile(host_text(&error)))?;
    let exports = exports(&module, plan.globals().unwrap_or_default())?;
    Ok((CompiledPlugin { exports, module: linked, bounds, instances: sandbox.ceilings().instances }, origin))
}

/// The module for the compiler.
fn rewritten<'a>(wasm: &'a [u8], plan: &Plan) -> Result<Cow<'a, [u8]>, LoadFault> {
    Ok(match plan.globals() {
        Some(globals) => Cow::Owned(rewrite::export(wasm, globals).map_err(invalid)?),
        None => Cow::Borrowed(wasm),
    })
}

fn start_once(compiled: &CompiledPlugin, config: &[u8]) -> Result<(LiveInstance, Vec<(LogLevel, String)>), LoadFault> {
    let mut live = LiveInstance::instantiate(compiled).map_err(LoadFault::Start)?;
    let initialised = live.init(config);
    let mut log = std::mem::take(&mut live.state_mut().log).into_lines();
    match initialised {
        Ok(()) => Ok((live, log)),
        Err(fault) => Err(LoadFault::Init { fault, last_words: log.pop().map(|(_, text)| text) }),
    }
}

fn exports(module: &Module, globals: &[u32]) -> Result<PluginExports, LoadFault> {
    let find = |export| module.get_export_index(export).ok_or(LoadFault::MissingExport { export });
    let global = |&index| {
        let missing = LoadFault::Compile(format!("global {index} is not exported"));
        module.get_export_index(&rewrite::name(index)).ok_or(missing)
    };
    Ok(PluginExports {
        memory: find("memory")?,
        alloc: find("alloc")?,
        transform: find("transform")?,
        init: module.get_export_index("init"),
        globals: globals.iter().map(global).collect::<Result<_, _>>()?,
    })
}
