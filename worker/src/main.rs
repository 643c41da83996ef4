//! The command `inferbus`: reads the arguments, runs one command, turns its end into an exit code.
#![forbid(unsafe_code)]

mod cli;
mod commands;
mod exit;

use std::process::ExitCode;

use clap::Parser as _;
use inferbus::app;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli.command {
        cli::Command::CompilePlugin => return commands::compile_plugin::run(),
        cli::Command::LoadModel(arguments) => return commands::load_model::run(arguments),
        _ => {}
    }
    let runtime = match app::runtime() {
        Ok(runtime) => runtime,
        Err(fault) => {
            return exit::report(&anyhow::anyhow!("the async runtime cannot be started: {fault}"));
        }
    };
    let ended = runtime.block_on(commands::run(cli.command));
    // A lane that is stuck in native code must not keep the process.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(fault) => exit::report(&fault),
    }
}
