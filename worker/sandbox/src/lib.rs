//! The security boundary: plugins run in Wasmtime, with only `emit` and `log`.
//!
//! Guarantees, for any bytes in a plugin:
//! - Every call ends in bounded time and memory, with a result or a fault from a closed list.
//! - Calls are isolated. No call can read data of another call.
//! - Loading is bounded by the size of the module. With [`Compiler::Child`] the compiler is also bounded in time and
//!   memory, in a separate process.
//!
//! Prohibitions: the sandbox must never give a plugin a clock, randomness, a file, a socket or compiled code. It must
//! not depend on NATS, models or catalogs.
//!
//! Between two messages the sandbox either restores a plugin's instance to its state after `init` or replaces it. The
//! choice is made once per plugin, from its module; see [`Strategy`].
//!
//! Order of use: [`Sandbox::new`] once per process, [`inspect`] before compilation, [`Plugin::load`] once per artifact,
//! [`Plugin::instance`] once per lane and stage, [`Instance::call`] once per message.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use inferbus_sandbox::{Bounds, Ceilings, Grants, Plugin, Sandbox};
//!
//! let wasm = wat::parse_str(
//!     r#"(module
//!         (memory (export "memory") 1)
//!         (func (export "alloc") (param i32) (result i32) i32.const 1024)
//!         (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
//!             (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
//!                     (i64.extend_i32_u (local.get $len)))))"#,
//! )?;
//! let sandbox = Sandbox::new(Ceilings::default())?;
//! let echo = Plugin::load(&sandbox, &wasm, Grants::default(), Bounds::default(), b"")?;
//! let mut lane = echo.instance();
//! let reply = lane.call(5, &mut |input| input.copy_from_slice(b"hello"), &mut |_| {})?;
//! assert_eq!(reply.output, Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```

// Exceptions: one function in `machine_code.rs` and the page protection in `live/watch.rs`. Both give their reasons.
#![deny(unsafe_code)]

mod bounds;
mod call;
mod engine;
mod host;
pub mod limits;
mod live;
mod load;
mod machine_code;
#[cfg(any(test, feature = "oracle"))]
pub mod oracle;
mod plugin;
mod settings;
mod text;

pub use bounds::{Bounds, Ceilings};
pub use call::{Instance, Reply};
pub use engine::{Sandbox, SandboxFault};
pub use host::emit::Emit;
pub use host::fault::{Fault, FaultClass, TrapKind};
pub use host::functions::Grants;
pub use host::log::{LogLevel, LogLine};
pub use load::examine::examine;
pub use load::inspect::{Import, Inspection, inspect};
pub use load::load_fault::LoadFault;
pub use load::strategy::{Because, Strategy};
pub use machine_code::{Cache, CacheFault, ChildProcess, CompileBounds, Compiler, Origin, compile_child};
pub use plugin::{Plugin, try_compile};
