//! The trial process as a program, for this crate's tests. In production, it is a subcommand of `inferbus`.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    inferbus_engine::load_child(std::env::args().skip(1))
}
