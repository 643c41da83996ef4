//! `inferbus dlq`: dead letters. One file per sub-command.

mod drop;
mod list;
mod replay;
mod selection;
mod show;

use std::process::ExitCode;

use clap::{Args, Subcommand};

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus dlq ls --route cameras")]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List dead letters, newest last
    Ls(list::Arguments),
    /// Show one dead letter in full
    Show(show::Arguments),
    /// Run dead letters through a version, publish the results, then delete the dead letters
    Replay(Box<replay::Arguments>),
    /// Delete dead letters
    Drop(drop::Arguments),
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {
        Command::Ls(arguments) => list::run(arguments).await?,
        Command::Show(arguments) => show::run(arguments).await?,
        Command::Replay(arguments) => return replay::run(*arguments).await,
        Command::Drop(arguments) => drop::run(arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}
