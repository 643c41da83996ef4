//! `inferbus compile-plugin`: the compiler process that other commands start, never a user. It must stay without async runtime
//! and other threads, whose address space would count as the compiler's.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use inferbus_sandbox::{ChildProcess, CompileBounds, Compiler, compile_child};

pub const NAME: &str = "compile-plugin";

pub fn run() -> ExitCode {
    compile_child()
}

pub fn compiler() -> anyhow::Result<Compiler> {
    let program = this_program()?;
    Ok(Compiler::Child(ChildProcess { program, arguments: vec![NAME.into()], bounds: CompileBounds::default() }))
}

/// This executable, also where its file was replaced by another version since it was started.
pub fn this_program() -> anyhow::Result<PathBuf> {
    let running = Path::new("/proc/self/exe");
    if running.exists() {
        return Ok(PathBuf::from(running));
    }
    std::env::current_exe().context("this program cannot find its own file, which compiles plugins and tries models")
}
