//! The worker and the echo with an allocator that counts. They are a program of their own, because counting costs time, and
//! what the other programs take of it is measured.
//!
//! For each line on its input it writes one with how often memory was asked for so far, by all of its threads. What ONNX
//! Runtime's own C++ code asks for is not counted: it does not go through Rust's allocator.
#![forbid(unsafe_code)]

use std::alloc::System;
use std::io::{BufRead as _, stdin};
use std::process::ExitCode;

use clap::Parser;
use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus_bench::{echo, serve};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
#[expect(clippy::large_enum_variant, reason = "there is one, once")]
enum Command {
    Worker(WorkerConfig),
    Echo { server: String, subject: String },
}

fn main() -> ExitCode {
    std::thread::spawn(answer);
    let ended = app::runtime().map_err(Into::into).and_then(|runtime| {
        runtime.block_on(async {
            match Command::parse() {
                Command::Worker(config) => serve::run(config, |_| ()).await,
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
