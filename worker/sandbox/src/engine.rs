//! The single Wasmtime engine of the process, its memory pool, and the thread for time limits.

use std::thread;

use wasmtime::{Config, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::bounds::Ceilings;
use crate::limits;
use crate::machine_code::{Cache, Compiler};
use crate::settings::code_config;
use crate::text::Size;

/// Reasons for a sandbox not to start.
#[derive(Debug, thiserror::Error)]
pub enum SandboxFault {
    #[error(
        "the sandbox could not reserve {} of address space for each of {instances} instances: {why}. Raise the limit \
         on address space (`ulimit -v`), or allow fewer instances",
        Size(limits::RESERVATION)
    )]
    Engine { instances: u32, why: String },
    #[error("the sandbox could not start its clock thread: {0}")]
    Clock(std::io::Error),
}

/// Created once per process. Clones share the engine.
///
/// Threads need a stack of at least [`limits::THREAD_STACK`] to call plugins.
#[derive(Clone)]
pub struct Sandbox {
    engine: Engine,
    ceilings: Ceilings,
    compiler: Compiler,
    cache: Option<Cache>,
}

impl Sandbox {
    /// A sandbox without cache, with the compiler in this process.
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

/// Makes running plugins check their clock at each tick. Returns after the last user of the engine is dropped.
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

/// All memories share one reservation, made at start, so a new instance needs few system calls.
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
