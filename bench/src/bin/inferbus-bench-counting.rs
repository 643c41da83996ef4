//! The worker and the echo with a counting allocator. Counting costs time, so this is a separate program.
//!
//! For each input line, the program prints the number of allocations of all threads so far. Allocations of ONNX
//! Runtime's C++ code are not counted: they bypass Rust's allocator.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::io::{BufRead as _, stdin};
use std::process::ExitCode;

use clap::Parser;
use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus_bench::helpers::{echo, worker};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
#[expect(clippy::large_enum_variant, reason = "only one value exists")]
enum Command {
    Worker(WorkerConfig),
    Echo { server: String, subject: String },
}

fn main() -> ExitCode {
    std::thread::spawn(answer);
    let ended = app::runtime().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match Command::parse() {
                Command::Worker(config) => worker::run(config, |_| ()).await,
                Command::Echo { server, subject } => echo::run(&server, &subject).await,
            }
        })
    });
    if let Err(fault) = &ended {
        eprintln!("bench: {fault:#}");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn answer() {
    for _ in stdin().lock().lines().map_while(Result::ok) {
        let stats = COUNTING.stats();
        println!("{}", stats.allocations + stats.reallocations);
    }
}
