//! The compiler process alone, for this crate's tests: the product starts `inferbus` itself, which this crate cannot see.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    inferbus_sandbox::compile_child()
}
