//! Machine code: its sources, and its only way into the engine.
//!
//! Guarantees: [`MachineCode`] is output of Wasmtime's compiler from this program, or an unchanged copy of it from the
//! private cache of this user. The fields are private, so only this module and its children can create a value. None of
//! them accepts bytes from a caller, so data from the network can never become machine code.
//!
//! Prohibition: do not move [`MachineCode`] out of this module. Its privacy is the invariant behind the `unsafe` block
//! below. The children import this module; this module must not import its children.

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
    /// A header of the cache or of the compiler process, and then the code. Removing the header would copy megabytes.
    bytes: Vec<u8>,
    header: usize,
}

/// The origin of a plugin's machine code.
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

/// The input of a compilation, and of its cache key.
pub(crate) struct Source<'a> {
    /// The original module and its config.
    pub(crate) wasm: &'a [u8],
    pub(crate) config: &'a [u8],
    /// The exported globals of the rewritten module. `None` if the module is not rewritten.
    pub(crate) globals: Option<&'a [u32]>,
}

impl MachineCode {
    fn code(&self) -> &[u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }

    #[allow(unsafe_code, reason = "Wasmtime cannot verify machine code")]
    fn module(&self, engine: &Engine) -> wasmtime::Result<Module> {
        // SAFETY: Wasmtime requires the unmodified output of `Engine::precompile_module`. Only two places create a
        // `MachineCode`:
        // - `Compiler` takes it from that function, or complete from the pipe of a compiler process. This process has
        //   started the compiler process, and the compiler process calls that function.
        // - `Cache` takes it from a file after verification of a MAC over all of the code. Only this user can read the
        //   key of the MAC, so the file is an earlier `MachineCode`. The check uses a private copy of the file in
        //   memory, so no other process can change it afterwards. Wasmtime itself rejects code of other versions or
        //   settings.
        unsafe { Module::deserialize(engine, self.code()) }
    }
}
