//! `make bench`: the worker against the bus's floor and against one file of Python, in one run.
//!
//! Promises: contestants take turns on the same server and the same payloads, so that a noisy machine hits all of
//! them; what is compared is a ratio between neighbours in time. Every answer is checked while measuring.
#![forbid(unsafe_code)]

mod contestant;
mod echo;
mod figures;
mod load;
mod process;
mod swap;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use inferbus::dev_server::{DevServer, Settings};

use crate::contestant::Contestant;
use crate::figures::{Figure, Figures};
use crate::load::{Load, Round};

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each contestant
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of one round
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Requests in flight
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Version bumps under load
    #[arg(long, default_value_t = 30)]
    bumps: usize,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer every request with its payload: what the bus alone costs
    Echo { server: String, subject: String },
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ended = match &arguments.command {
        Some(Command::Echo { server, subject }) => echo::run(server, subject).await,
        None => measure(&arguments).await,
    };
    if let Err(fault) = &ended {
        eprintln!("bench: {fault:#}");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let server = DevServer::start(Settings::default()).await?;
    let url = server.url().to_owned();
    contestant::push(&url, "1.0.0", true).await?;
    contestant::push(&url, "1.1.0", false).await?;
    let contestants = [Contestant::worker(&url).await?, Contestant::python(&url).await?, Contestant::echo(&url).await?];
    let client = async_nats::connect(&url).await?;
    let load = Load::new(client, arguments.in_flight, arguments.requests)?;
    let mut rounds: Vec<Vec<Round>> = vec![Vec::new(); contestants.len()];
    for contestant in &contestants {
        load.round(contestant).await?;
    }
    for number in 1..=arguments.rounds {
        for (contestant, rounds) in contestants.iter().zip(&mut rounds) {
            let round = load.round(contestant).await?;
            eprintln!("round {number}: {:8} {round}", contestant.name);
            rounds.push(round);
        }
    }
    let mut figures = Figures::default();
    compare(&mut figures, &rounds);
    let [worker, python, echo] = contestants;
    python.stop().await?;
    echo.stop().await?;
    figures.add(swap::measure(&load, &worker, arguments.bumps).await?);
    worker.stop().await?;
    server.stop().await;
    figures.print();
    figures.write(&results())
}

fn results() -> PathBuf {
    root().join("bench/results/figures.json")
}

/// The rounds of the worker, of Python and of the echo, as the names of the figures say.
fn compare(figures: &mut Figures, rounds: &[Vec<Round>]) {
    let [worker, python, echo] = rounds else { return };
    for (name, rounds) in [("worker", worker), ("python", python), ("echo", echo)] {
        figures.add(Figure::of(&format!("{name}.cpu_us"), "µs per message", rounds.iter().map(Round::cpu_micros)));
        figures.add(Figure::of(&format!("{name}.rate"), "requests/s", rounds.iter().map(Round::rate)));
        figures.add(Figure::of(&format!("{name}.p50_us"), "µs", rounds.iter().map(|round| round.latency(0.5))));
        figures.add(Figure::of(&format!("{name}.p99_us"), "µs", rounds.iter().map(|round| round.latency(0.99))));
    }
    let ratio = |of: fn(&Round) -> f64, other: &[Round]| {
        worker.iter().zip(other).map(|(ours, theirs)| of(ours) / of(theirs)).collect::<Vec<_>>()
    };
    figures.add(Figure::of("worker.cpu_vs_python", "× python.cpu_us", ratio(Round::cpu_micros, python)));
    figures.add(Figure::of("worker.rate_vs_python", "× python.rate", ratio(Round::rate, python)));
    figures.add(Figure::of("worker.cpu_vs_echo", "× echo.cpu_us", ratio(Round::cpu_micros, echo)));
}
