//! Shared by the tests: one sandbox, modules from text, and owned replies.
#![allow(dead_code, reason = "each test executable uses a part")]

use std::sync::OnceLock;
use std::time::Duration;

use inferbus_sandbox::{
    Bounds, Ceilings, ChildProcess, CompileBounds, Compiler, Emit, Fault, Grants, Instance, LoadFault, LogLevel,
    Plugin, Sandbox,
};

pub(crate) const ALL: Grants = Grants { log: true, emit: true };
pub(crate) const NONE: Grants = Grants { log: false, emit: false };

pub(crate) fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(Ceilings::default()).unwrap())
}

/// The real compiler process.
pub(crate) fn compiler(bounds: CompileBounds) -> Compiler {
    let program = env!("CARGO_BIN_EXE_inferbus-compile-plugin").into();
    Compiler::Child(ChildProcess { program, arguments: Vec::new(), bounds })
}

/// The defaults, but with time for all but an endless call on a busy machine.
pub(crate) fn patient() -> Bounds {
    Bounds { time: Duration::from_secs(10), ..Bounds::default() }
}

pub(crate) fn load(wat: &str, grants: Grants, config: &[u8]) -> Result<Plugin, LoadFault> {
    let wasm = wat::parse_str(wat).unwrap();
    Plugin::load(sandbox(), &wasm, grants, patient(), config)
}

/// An owned reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) output: Option<Vec<u8>>,
    pub(crate) emits: Vec<Emit>,
    pub(crate) log: Vec<(LogLevel, String)>,
}

pub(crate) fn call(instance: &mut Instance, input: &[u8]) -> Result<Seen, Fault> {
    let mut log = Vec::new();
    let reply = instance.call(input.len(), &mut |room| room.copy_from_slice(input), &mut |line| {
        log.push((line.level, line.text.to_owned()))
    })?;
    let (output, emits) = (reply.output.map(<[u8]>::to_vec), reply.emits);
    Ok(Seen { output, emits, log })
}

/// Replies with its input.
pub(crate) const ECHO: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32))
            (i64.extend_i32_u (local.get $len)))))"#;
