//! The process's one Wasmtime engine: what plugins may be made of, where their memories lie, and the clock that
//! stops them.

use std::num::NonZeroUsize;
use std::thread;

use wasmtime::wasmparser::WasmFeatures;
use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bounds::Ceilings;
use crate::limits;
use crate::load::load_fault::SandboxFault;
use crate::machine_code::{Cache, Compiler};

/// The WebAssembly that a plugin may be made of. Inspection and compilation go by this one list.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST);

/// Made once per process; clones share the engine.
///
/// A thread that calls plugins needs a stack of at least [`limits::THREAD_STACK`].
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    ceilings: Ceilings,
    compiler: Compiler,
    cache: Option<Cache>,
}

impl Sandbox {
    /// Compiles in this process and caches nothing, until told otherwise.
    pub fn new(ceilings: Ceilings) -> Result<Self, SandboxFault> {
        let engine = Engine::new(&config(&ceilings))
            .map_err(|error| SandboxFault::Engine { instances: ceilings.instances, why: format!("{error:#}") })?;
        let clock = engine.weak();
        thread::Builder::new().name("sandbox-clock".into()).spawn(move || tick(&clock)).map_err(SandboxFault::Clock)?;
        Ok(Self { engine, ceilings, compiler: Compiler::InProcess, cache: None })
    }

    #[must_use]
    pub fn compiling_with(self, compiler: Compiler) -> Self {
        Self { compiler, ..self }
    }

    #[must_use]
    pub fn caching_in(self, cache: Cache) -> Self {
        Self { cache: Some(cache), ..self }
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub fn ceilings(&self) -> &Ceilings {
        &self.ceilings
    }

    pub(crate) fn compiler(&self) -> &Compiler {
        &self.compiler
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.cache.as_ref()
    }
}

/// Has running plugins look at their clock now and then. Ends when the sandbox and every plugin of it are gone.
fn tick(clock: &EngineWeak) {
    while let Some(engine) = clock.upgrade() {
        engine.increment_epoch();
        drop(engine);
        thread::sleep(limits::TICK);
    }
}

fn config(ceilings: &Ceilings) -> Config {
    let mut config = code_config();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(ceilings)));
    config
}

/// Every setting that machine code depends on.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config.wasm_features(!FEATURES, false);
    config.wasm_features(FEATURES, true);
    // Fuel would count instructions exactly, at a price on every loop; time is what the entry limits.
    config.epoch_interruption(true);
    config.max_wasm_stack(limits::STACK);
    // NaNs keep the bits that the processor gives them: nothing secret is in them, and making them canonical
    // slows floats.
    config.cranelift_nan_canonicalization(false);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(limits::TRAP_FRAMES));
    config.native_unwind_info(false);
    config.memory_reservation(limits::RESERVATION);
    config.memory_guard_size(limits::GUARD);
    config
}

/// Memories lie in one reservation that is made at start, so that a new instance costs few system calls.
fn pool(ceilings: &Ceilings) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_core_instances(ceilings.instances);
    pool.total_memories(ceilings.instances);
    pool.total_tables(ceilings.instances.saturating_mul(limits::TABLES));
    pool.max_memories_per_module(1);
    pool.max_tables_per_module(limits::TABLES);
    pool.table_elements(limits::TABLE_ELEMENTS as usize);
    pool.max_memory_size(ceilings.bounds.memory);
    pool.linear_memory_keep_resident(limits::KEEP_RESIDENT);
    pool.table_keep_resident(limits::KEEP_RESIDENT);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};

    use super::*;

    fn hash(config: &Config) -> u64 {
        let mut hasher = DefaultHasher::new();
        Engine::new(config).unwrap().precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn the_compiler_needs_no_pool_to_make_code_that_fits() {
        let ceilings = Ceilings { instances: 1, ..Ceilings::default() };
        let pooled = hash(&config(&ceilings));
        assert_eq!(hash(&code_config()), pooled);
        let mut other = code_config();
        other.memory_guard_size(2 * limits::GUARD);
        assert_ne!(hash(&other), pooled);
    }
}
