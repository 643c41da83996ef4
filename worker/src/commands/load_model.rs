//! `inferbus load-model`: the process that other commands start to try a model, never a user. It must stay without async
//! runtime and other threads, whose address space would count as the model's.

use std::process::ExitCode;

use clap::Args;
use inferbus::app::Children;
use inferbus_engine::{TrialBounds, TrialProcess, load_child};

use super::compile_plugin;

pub const NAME: &str = "load-model";

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(allow_hyphen_values = true)]
    job: Vec<String>,
}

pub fn run(arguments: Arguments) -> ExitCode {
    load_child(arguments.job.into_iter())
}

/// This executable, as what plugins are compiled by and what models are tried in.
pub fn children() -> anyhow::Result<Children> {
    Ok(Children { compiler: compile_plugin::compiler()?, models: Some(process()?) })
}

pub fn process() -> anyhow::Result<TrialProcess> {
    let program = compile_plugin::this_program()?;
    Ok(TrialProcess { program, arguments: vec![NAME.into()], bounds: TrialBounds::default() })
}
