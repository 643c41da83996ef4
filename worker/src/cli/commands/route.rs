//! `inferbus route`: routes from subjects to models. One file per sub-command.

mod add;
mod list;
mod objects;
mod remove;
mod repair;
mod show;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus route add --subject 'sensors.cam.*' --model digits")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add or change a route
    Add(Box<add::Arguments>),
    /// Show a route, and explain the settings of its stream, consumer and results
    Show(show::Arguments),
    /// Recreate missing server objects of a stream route
    Repair(repair::Arguments),
    /// List the routes
    Ls(list::Arguments),
    /// Remove a route
    Rm(remove::Arguments),
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Add(arguments) => add::run(*arguments).await,
        Command::Show(arguments) => show::run(arguments).await,
        Command::Repair(arguments) => repair::run(arguments).await,
        Command::Ls(arguments) => list::run(arguments).await,
        Command::Rm(arguments) => remove::run(arguments).await,
    }
}
