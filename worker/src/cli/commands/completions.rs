//! `inferbus completions`: a completion script for a shell.

use std::io::Write as _;

use clap::Args;
use clap_complete::Shell;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  inferbus completions bash > ~/.local/share/bash-completion/completions/inferbus")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: &Arguments, mut command: clap::Command) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "inferbus", &mut script);
    // A closed pipe is not an error.
    let _ = std::io::stdout().write_all(&script);
}
