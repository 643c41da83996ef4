//! `make guard`: counts the instructions of the hot functions and compares them with the baseline.
//!
//! Guarantees: counts do not depend on time, so a busy machine does not change them. Compared counts have the same
//! compiler, target and C library.
#![forbid(unsafe_code)]

mod baseline;
mod count;
mod functions;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(about = "Counts the instructions of the hot functions")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Count and compare with the baseline
    Guard,
    /// Count and accept the counts as the baseline
    Accept,
    /// Count and print: all functions, or the named ones
    Count { names: Vec<String> },
    /// Call a function repeatedly, for counting
    Call { name: String, calls: u64 },
}

fn main() -> ExitCode {
    let ended = run(Arguments::parse().command);
    if let Err(fault) = &ended {
        eprintln!("guard: {fault:#}");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(command: Command) -> anyhow::Result<()> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("guard/baseline.json");
    match command {
        Command::Guard => baseline::compare(&file, &count::toolchain()?, || count::all(&[])),
        Command::Accept => baseline::accept(&file, &count::toolchain()?, count::all(&[])?),
        Command::Count { names } => {
            count::all(&names)?.iter().for_each(|(name, count)| println!("{name:24} {count:10}"));
            Ok(())
        }
        Command::Call { name, calls } => call(&name, calls),
    }
}

fn call(name: &str, calls: u64) -> anyhow::Result<()> {
    let hot = functions::ALL.iter().find(|hot| hot.name == name);
    let mut call = (hot.with_context(|| format!("the function `{name}` does not exist"))?.prepare)()?;
    (0..calls).try_for_each(|_| call())
}
