//! The command `inferbus`: parses the arguments, runs one command, returns its exit code.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use clap::Parser as _;
use inferbus::app;

use crate::cli::{Cli, Command, commands, exit};

fn main() -> ExitCode {
    let command = match Cli::parse().command {
        Command::CompilePlugin => return commands::compile_plugin::run(),
        Command::LoadModel(arguments) => return commands::load_model::run(arguments),
        command => command,
    };
    let runtime = match app::runtime() {
        Ok(runtime) => runtime,
        Err(fault) => return exit::report(&anyhow::anyhow!("cannot start the async runtime: {fault}")),
    };
    let result = runtime.block_on(command.run());
    // A lane stuck in native code must not keep the process alive.
    runtime.shutdown_background();
    result.unwrap_or_else(|fault| exit::report(&fault))
}
