//! Bare Wasmtime: an instance per call, or one reused instance with its previous memory.
//!
//! Configured by its documentation for speed: pooled memories, one linking, resident pages. It runs without limits.

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, InstancePre, Linker, Memory, Module, PoolingAllocationConfig, Store,
    TypedFunc, error::Context as _,
};

const INSTANCES: u32 = 8;
/// Resident bytes per memory, for the next instance.
const KEEP_RESIDENT: usize = 1 << 20;
const MEMORY: usize = 64 << 20;

pub struct Bare {
    engine: Engine,
    linked: InstancePre<()>,
    function: &'static str,
    kept: Option<Live>,
}

struct Live {
    store: Store<()>,
    memory: Memory,
    alloc: TypedFunc<u32, u32>,
    function: TypedFunc<(u32, u32), u64>,
}

impl Bare {
    pub fn new(wasm: &[u8], function: &'static str, reused: bool) -> wasmtime::Result<Self> {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_core_instances(INSTANCES).total_memories(INSTANCES).total_tables(INSTANCES);
        pool.max_memory_size(MEMORY).linear_memory_keep_resident(KEEP_RESIDENT);
        let mut config = Config::new();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let engine = Engine::new(&config)?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("inferbus", "log", |_: u32, _: u32, _: u32| {})?;
        let linked = linker.instantiate_pre(&Module::new(&engine, wasm)?)?;
        let mut bare = Self { engine, linked, function, kept: None };
        bare.kept = reused.then(|| bare.live()).transpose()?;
        Ok(bare)
    }

    fn live(&self) -> wasmtime::Result<Live> {
        let mut store = Store::new(&self.engine, ());
        let instance = self.linked.instantiate(&mut store)?;
        let memory = instance.get_memory(&mut store, "memory").context("a guest without memory")?;
        let alloc = instance.get_typed_func(&mut store, "alloc")?;
        let function = instance.get_typed_func(&mut store, self.function)?;
        Ok(Live { store, memory, alloc, function })
    }

    /// Passes the output in place to `read`.
    pub fn call<T>(&mut self, input: &[u8], read: impl FnOnce(&[u8]) -> T) -> wasmtime::Result<T> {
        match &mut self.kept {
            Some(live) => live.call(input, read),
            None => self.live()?.call(input, read),
        }
    }
}

impl Live {
    fn call<T>(&mut self, input: &[u8], read: impl FnOnce(&[u8]) -> T) -> wasmtime::Result<T> {
        let room = self.alloc.call(&mut self.store, u32::try_from(input.len())?)?;
        self.memory.write(&mut self.store, room as usize, input)?;
        let packed = self.function.call(&mut self.store, (room, u32::try_from(input.len())?))?;
        let (start, len) = ((packed >> 32) as usize, packed as u32 as usize);
        let memory = self.memory.data(&self.store);
        let output = start.checked_add(len).and_then(|end| memory.get(start..end));
        Ok(read(output.context("an output outside of memory")?))
    }
}
