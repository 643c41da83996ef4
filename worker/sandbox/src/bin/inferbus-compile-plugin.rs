//! The compiler process, for the tests of this crate. The product starts the `inferbus` executable instead.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    inferbus_sandbox::compile_child()
}
