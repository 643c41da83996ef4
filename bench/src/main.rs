//! `make bench`: the worker beside its floors, beside itself without a sandbox and beside one file of Python, in one
//! run.
//!
//! Guarantees: contestants alternate on one server with equal payloads, so a noisy machine affects all of them.
//! Compared values are ratios of neighbours in time. Every answer is checked while it is measured.
#![forbid(unsafe_code)]

mod command;
mod dispatch;
mod floors;
mod growth;
mod load;
mod machine;
mod opponents;
mod paper;
mod project;
mod scale;
mod subjects;
mod workloads;

use std::process::ExitCode;

use clap::Parser as _;
use inferbus::app;

use crate::command::{Arguments, Command};

fn main() -> ExitCode {
    let Arguments { command, options } = Arguments::parse();
    // The native worker needs the worker's runtime. The load generator may use several threads.
    let runtime = match &command {
        Some(Command::Helper(helper)) if helper.is_on_one_thread() => app::runtime(),
        _ => tokio::runtime::Runtime::new(),
    };
    let ended = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(dispatch::run(command, &options)));
    if let Err(fault) = &ended {
        eprintln!("bench: {fault:#}");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
