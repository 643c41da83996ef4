//! The trial process alone, for this crate's tests: the product starts `inferbus` itself, which this crate cannot see.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    inferbus_engine::load_child(std::env::args().skip(1))
}
