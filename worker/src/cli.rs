//! The commands, their arguments and their help.

use clap::{Parser, Subcommand, ValueEnum};
use inferbus::config::WorkerConfig;

use crate::commands::{
    activate, bench, check, compile_plugin, completions, dev, dlq, doctor, infer, list, load_model, push, replay,
    rollback, route, show, status,
};
use crate::exit;

/// Inference on NATS: raw bytes in, application results out, each model version with its own sandboxed pre- and postprocessing.
#[derive(Debug, Parser)]
#[command(name = "inferbus", version, after_help = exit::HELP, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve every active model from NATS until stopped
    #[command(
        after_help = "Examples:\n  inferbus worker\n  inferbus worker -s nats://bus:4222 --lanes 4 --admin 0.0.0.0:9464\n\nSIGTERM and Ctrl-C stop it: it finishes what is in hand first."
    )]
    Worker(Box<WorkerConfig>),
    /// Check a bundle and store it in the catalog
    Push(push::Arguments),
    /// Make a version the one that answers, on every worker, with no restart
    Activate(activate::Arguments),
    /// Activate the version that was active before
    Rollback(rollback::Arguments),
    /// List models and their versions
    Ls(list::Arguments),
    /// Show a model, or one version of it
    Show(show::Arguments),
    /// Show every worker and what it runs
    Status(status::Arguments),
    /// Look at a deployment, and say what endangers its promises
    Doctor(doctor::Arguments),
    /// Check a bundle without a bus: entry, plugins, model, and one payload if given
    Check(check::Arguments),
    /// Run a payload through a bundle on disk, or through the workers
    Infer(infer::Arguments),
    /// Put load on a deployment, check every answer, and say how long they took
    Bench(Box<bench::Arguments>),
    /// Map subjects of your own to models
    Route(route::Arguments),
    /// Look at dead letters, try them again, or drop them
    Dlq(Box<dlq::Arguments>),
    /// Run stored messages of a stream through any version again, and compare the results
    Replay(Box<replay::Arguments>),
    /// Try things out: a private nats-server and a worker, until Ctrl-C
    Dev(Box<dev::Arguments>),
    /// Compile one plugin, for another command of this program
    #[command(name = compile_plugin::NAME, hide = true)]
    CompilePlugin,
    /// Load one model, for another command of this program
    #[command(name = load_model::NAME, hide = true)]
    LoadModel(load_model::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Text,
    Json,
}
