//! `inferbus load-model`: the hidden process to try a model. It must not start an async runtime or other threads,
//! because their address space would count towards the model's memory bound.

use std::process::ExitCode;

use clap::Args;
use inferbus_engine::load_child;

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(allow_hyphen_values = true)]
    job: Vec<String>,
}

pub fn run(arguments: Arguments) -> ExitCode {
    load_child(arguments.job.into_iter())
}
