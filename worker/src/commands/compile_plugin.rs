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

/// This executable as a compiler, also where its file was replaced by another version since it was started.
pub fn compiler() -> anyhow::Result<Compiler> {
    let running = Path::new("/proc/self/exe");
    let program = if running.exists() {
        PathBuf::from(running)
    } else {
        std::env::current_exe().context("this program cannot find its own file, which compiles plugins")?
    };
    Ok(Compiler::Child(ChildProcess { program, arguments: vec![NAME.into()], bounds: CompileBounds::default() }))
}
