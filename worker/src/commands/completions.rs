//! `inferbus completions`: a script for the user's shell.

use std::io::Write as _;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus completions bash > ~/.local/share/bash-completion/completions/inferbus")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: &Arguments) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "inferbus", &mut script);
    // A reader that went away wanted no more of it.
    let _ = std::io::stdout().write_all(&script);
}
