//! `inferbus compile-plugin`: the hidden compiler process. It must not start an async runtime or other threads,
//! because their address space would count towards the compiler's memory bound.

use std::process::ExitCode;

use inferbus_sandbox::compile_child;

pub fn run() -> ExitCode {
    compile_child()
}
