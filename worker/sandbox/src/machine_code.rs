//! Machine code: where it may come from, and the one door through which it gets into the engine.
//!
//! Promises: [`MachineCode`] is what Wasmtime's compiler made in this program, or such code back unchanged from the cache
//! that only this user can write. The type's field is private, so only the modules below can make one, and none of them
//! takes bytes from a caller: nothing that came over the bus can be machine code.

mod cache;
mod child;
mod compile_bounds;
mod compiler;
mod exchange;
mod obtain;
mod wire;

use wasmtime::{Engine, Module};

pub use cache::{Cache, CacheFault};
pub use child::compile_child;
pub use compile_bounds::CompileBounds;
pub use compiler::{ChildProcess, Compiler};
pub(crate) use obtain::obtain;

pub(crate) struct MachineCode {
    /// A header of whoever brought the code, and then the code: taking the header off would move megabytes.
    bytes: Vec<u8>,
    header: usize,
}

/// Whether a plugin had to be compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Compiled,
    Cached,
}

impl Origin {
    pub fn name(self) -> &'static str {
        match self {
            Self::Compiled => "compiled",
            Self::Cached => "cached",
        }
    }
}

/// What is compiled, and what a cache knows it by.
pub(crate) struct Source<'a> {
    /// The module as its author shipped it, and its config.
    pub(crate) wasm: &'a [u8],
    pub(crate) config: &'a [u8],
    /// The globals that the rewritten module exports, if it is rewritten.
    pub(crate) globals: Option<&'a [u32]>,
}

impl MachineCode {
    fn code(&self) -> &[u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }

    #[allow(unsafe_code, reason = "machine code must be taken at its word")]
    fn module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: Wasmtime asks for bytes that `Engine::precompile_module` made, unmodified. A `MachineCode` is made in
        // two places only. `Compiler` takes it from that function, or whole from the pipe of the compiler process that
        // this process started and that calls that function. `Cache` takes it from a file only after a MAC over all of
        // it, under a key that only this user can read, has shown that it is what `Cache` wrote there, which was a
        // `MachineCode`; it has read the file into memory of its own first, so that nobody can change it afterwards.
        // Code of another Wasmtime or of other settings is refused by Wasmtime itself.
        unsafe { Module::deserialize(engine, self.code()) }
    }
}
