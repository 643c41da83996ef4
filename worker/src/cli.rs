//! The command line: arguments, exit codes and the choice of the command to run.

pub mod commands;
pub mod exit;

mod activation;
mod child_process;
mod local_bundle;
mod open;
mod plugin_strategy;
mod print;
mod progress;
mod stop;
mod upload;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use inferbus::config::WorkerConfig;

use self::commands::{
    activate, bench, check, compile_plugin, completions, dev, dlq, doctor, infer, list, load_model, push, reference,
    replay, rollback, route, show, status, worker,
};

/// Inference on NATS: raw bytes in, application results out, with sandboxed plugins per model version
#[derive(Debug, Parser)]
#[command(name = "inferbus", version, after_help = exit::HELP, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve all active models until stopped
    #[command(after_help = WORKER_EXAMPLES)]
    Worker(Box<WorkerConfig>),
    /// Check a bundle and store it in the catalog
    Push(push::Arguments),
    /// Switch a model to a version on every worker, without a restart
    Activate(activate::Arguments),
    /// Switch a model back to the previously active version
    Rollback(rollback::Arguments),
    /// List models and their versions
    Ls(list::Arguments),
    /// Show a model, or one version of it
    Show(show::Arguments),
    /// Show all workers and their models
    Status(status::Arguments),
    /// Check a deployment for risks to its guarantees
    Doctor(doctor::Arguments),
    /// Check a bundle offline: entry, plugins, model and a sample
    Check(check::Arguments),
    /// Run one payload through a local bundle or through the workers
    Infer(infer::Arguments),
    /// Load a deployment, verify every answer and report latencies
    Bench(Box<bench::Arguments>),
    /// Manage routes from subjects to models
    Route(route::Arguments),
    /// Inspect, replay or drop dead letters
    Dlq(Box<dlq::Arguments>),
    /// Run stored messages through any version and compare the results
    Replay(Box<replay::Arguments>),
    /// Start a private nats-server and a worker, until Ctrl-C
    Dev(Box<dev::Arguments>),
    /// Internal: compile one plugin
    #[command(name = child_process::COMPILE_PLUGIN, hide = true)]
    CompilePlugin,
    /// Internal: load one model
    #[command(name = child_process::LOAD_MODEL, hide = true)]
    LoadModel(load_model::Arguments),
    /// Internal: print one page of docs/reference/
    #[command(hide = true)]
    Reference(reference::Arguments),
    /// Print a shell completion script
    Completions(completions::Arguments),
}

const WORKER_EXAMPLES: &str = "\
Examples:
  inferbus worker
  inferbus worker -s nats://bus:4222 --lanes 4 --admin 0.0.0.0:9464

SIGTERM or Ctrl-C stops the worker after it has finished all messages in flight.";

impl Command {
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Worker(config) => worker::run(*config).await?,
            Self::Push(arguments) => push::run(arguments).await?,
            Self::Activate(arguments) => activate::run(arguments).await?,
            Self::Rollback(arguments) => rollback::run(arguments).await?,
            Self::Ls(arguments) => list::run(arguments).await?,
            Self::Show(arguments) => show::run(arguments).await?,
            Self::Status(arguments) => return status::run(arguments).await,
            Self::Doctor(arguments) => return doctor::run(arguments).await,
            Self::Check(arguments) => check::run(&arguments)?,
            Self::Infer(arguments) => infer::run(arguments).await?,
            Self::Bench(arguments) => return bench::run(*arguments).await,
            Self::Route(arguments) => route::run(arguments).await?,
            Self::Dlq(arguments) => return dlq::run(*arguments).await,
            Self::Replay(arguments) => replay::run(*arguments).await?,
            Self::Dev(arguments) => dev::run(*arguments).await?,
            Self::Completions(arguments) => completions::run(&arguments, Cli::command()),
            Self::Reference(arguments) => reference::run(&arguments, Cli::command())?,
            Self::CompilePlugin => return Ok(compile_plugin::run()),
            Self::LoadModel(arguments) => return Ok(load_model::run(arguments)),
        }
        Ok(ExitCode::SUCCESS)
    }
}
