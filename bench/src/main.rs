//! `make bench`: the worker against the bus's floor, against itself without a sandbox and against one file of Python, and the
//! sandbox by itself, in one run.
//!
//! Promises: contestants take turns on the same server and the same payloads, so that a noisy machine hits all of
//! them; what is compared is a ratio between neighbours in time. Every answer is checked while measuring.
#![forbid(unsafe_code)]

mod allocations;
mod answer;
mod bare;
mod batching;
mod bomb;
mod bumps;
mod burn;
mod cached;
mod clock;
mod collector;
mod contestant;
mod curve;
mod engine;
mod figures;
mod floor;
mod goals;
mod growth;
mod heavy;
mod http_client;
mod launch;
mod load;
mod models;
mod networks;
mod pace;
mod payloads;
mod peer;
mod peers;
mod picture;
mod process;
mod report;
mod sandbox;
mod sandbox_peers;
mod scale;
mod setting;
mod stage_process;
mod start;
mod stream;
mod swap;
mod swaps;
mod variants;
mod versus;
mod wasmtime_bare;
mod workload_runs;
mod workloads;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus::dev_server::{DevServer, Settings};
use inferbus::stream::store::Promises;
use inferbus_bench::{echo, native, serve};
use inferbus_testkit::{compile_bombs as bombs, onnx as author};

use crate::figures::Figures;
use crate::load::Load;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Rounds of each contestant: 7, and 3 beside a peer, unless told
    #[arg(long)]
    rounds: Option<usize>,
    /// Requests of one round
    #[arg(long, default_value_t = 40_000)]
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
    /// Measure the sandbox by itself, without a server
    Sandbox,
    /// Measure the engine by itself, and a worker with models of 100 MB
    Engine,
    /// Measure a model with batching and without
    Batching,
    /// Measure a thousand version bumps under a steady load
    Bumps {
        #[arg(default_value_t = 1000)]
        bumps: usize,
    },
    /// Measure the worker and its sandbox beside what a user would pick instead: all peers, or those that are named
    Peers {
        names: Vec<String>,
        /// What they do: tiny, audio, image, jpeg, filter or fan_out, again for more; all of these unless told
        #[arg(long)]
        workload: Vec<String>,
    },
    /// Measure one sandboxed call beside what a user would isolate a function with instead
    SandboxPeers,
    /// Measure all of it, and for long
    Full,
    /// Measure how costs grow, or those curves that are named
    Growth { names: Vec<String> },
    /// Measure how long a worker takes until it is ready, with 1, 50 and 500 models
    Start {
        /// With 1 and 50 only, as `make bench` does
        #[arg(long)]
        short: bool,
    },
    /// Measure swaps of small and large models, and what a neighbour notices of them
    Swap {
        /// With as few rounds as `make bench` has
        #[arg(long)]
        short: bool,
    },
    /// Measure what many workers cost one server beside their messages: starts, changes, rest, a server that is killed
    Scale {
        /// With few planes, in a minute
        #[arg(long)]
        short: bool,
        /// Measure nothing; print what follows from what was measured for other sizes, as docs/scale.md has it
        #[arg(long)]
        table: bool,
    },
    /// Measure routes of mode stream
    Stream,
    /// Measure the allocations of a message
    Allocations,
    /// Measure the workloads of bench/workloads, or those that are named
    Workloads { names: Vec<String> },
    #[command(flatten)]
    Helper(Box<Helper>),
}

// Programs that the benchmark starts as processes of their own. (A doc comment would be the whole command's description.)
#[derive(Debug, Subcommand)]
enum Helper {
    /// Make a session of a model's file and run it once, on bare ONNX Runtime; say how many milliseconds that took
    BareFirst { model: PathBuf },
    /// Fetch from a stream, publish with PubAck and acknowledge, `plain` or `checked`: what a stream costs without inference
    BareLoop { server: String, stream: String, acks: String },
    /// A worker that does not wait until a result is `stored`, or until its ack is `acknowledged`: what a promise costs
    CarelessWorker {
        without: String,
        #[command(flatten)]
        config: WorkerConfig,
    },
    /// Answer every request with its payload: what the bus alone costs
    Echo { server: String, subject: String },
    /// Write the workloads' networks
    Prepare,
    /// Answer every request with so many bytes and messages: what the bus costs a workload
    Answer {
        server: String,
        subject: String,
        output: String,
        #[command(flatten)]
        amount: answer::Amount,
    },
    /// A worker with pre and post of a workload compiled in: what the sandbox is compared with
    NativeWorker {
        #[arg(long, default_value = "tiny")]
        workload: String,
        #[command(flatten)]
        config: WorkerConfig,
    },
    /// Say how much memory a warm plugin instance takes
    InstanceMemory,
}

impl Helper {
    /// As a worker is.
    fn is_on_one_thread(&self) -> bool {
        matches!(self, Self::NativeWorker { .. } | Self::CarelessWorker { .. } | Self::BareLoop { .. })
    }
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    let command = arguments.command.take();
    // The native worker runs on what the worker runs on; who makes the load may use more than one thread.
    let runtime = match &command {
        Some(Command::Helper(helper)) if helper.is_on_one_thread() => app::runtime(),
        _ => tokio::runtime::Runtime::new(),
    };
    let ended = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(command, &arguments)));
    if let Err(fault) = &ended {
        eprintln!("bench: {fault:#}");
    }
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn run(command: Option<Command>, arguments: &Arguments) -> anyhow::Result<()> {
    let mut figures = Figures::default();
    match command {
        None => {
            let measured = everything(arguments, start::SHORT, swaps::SHORT, &mut figures).await;
            // A fault at the end must not lose what was measured before it.
            write(&figures, "figures.json", "report.html")?;
            measured?;
        }
        Some(Command::Full) => {
            let measured = full(arguments, &mut figures).await;
            keep_full(&figures)?;
            measured?;
        }
        Some(Command::Sandbox) => sandbox::measure(&mut figures)?,
        Some(Command::Engine) => {
            engine::measure(&mut figures)?;
            heavy(&mut figures).await?;
        }
        Some(Command::Batching) => batched(&mut figures).await?,
        Some(Command::Allocations) => {
            let server = server().await?;
            let load = load(&server, arguments).await?;
            allocations::measure(&load, server.url()).await?.into_iter().for_each(|figure| figures.add(figure));
            server.stop().await;
        }
        Some(Command::Bumps { bumps }) => {
            let server = server().await?;
            let load = load(&server, arguments).await?;
            for kind in [bumps::Kind::Two, bumps::Kind::EachItsOwn] {
                bumps::measure(&load, server.url(), bumps, kind, &mut figures).await?;
            }
            server.stop().await;
        }
        Some(Command::Peers { names, workload }) => {
            // Some of them are no table.
            let is_whole = names.is_empty() && workload.is_empty();
            if is_whole {
                sandbox_peers::measure(&mut figures)?;
            }
            let keep =
                |figures: &Figures| if is_whole { write(figures, "peers.json", "report-peers.html") } else { Ok(()) };
            beside_peers(&workload, &names, arguments.rounds, &mut figures, keep).await?;
        }
        Some(Command::SandboxPeers) => sandbox_peers::measure(&mut figures)?,
        Some(Command::Growth { names }) => {
            let measured = growth::measure(&names, &mut figures).await;
            if names.is_empty() {
                write(&figures, "growth.json", "report-growth.html")?;
            }
            measured?;
        }
        Some(Command::Start { short }) => {
            start::measure(if short { start::SHORT } else { start::LONG }, &mut figures).await?;
        }
        Some(Command::Swap { short }) => {
            swaps::measure(if short { swaps::SHORT } else { swaps::LONG }, &mut figures).await?;
        }
        Some(Command::Scale { table: true, .. }) => {
            print!("{}", scale::table::text());
            return Ok(());
        }
        Some(Command::Scale { short, .. }) => {
            let measured = scale::measure(short, &mut figures).await;
            // A fault at the end must not lose what was measured before it.
            write(&figures, "scale.json", "report-scale.html")?;
            figures.print();
            return measured;
        }
        Some(Command::Stream) => {
            let server = server().await?;
            stream::measure(&load(&server, arguments).await?, server.url(), &mut figures).await?;
            server.stop().await;
        }
        Some(Command::Workloads { names }) => {
            workload_runs::measure(&workloads::named(&names)?, WORKLOAD_ROUNDS, &mut figures).await?;
        }
        Some(Command::Helper(helper)) => return help(*helper).await,
    }
    figures.print();
    Ok(())
}

async fn help(helper: Helper) -> anyhow::Result<()> {
    match helper {
        Helper::BareFirst { model } => println!("{}", bare::first(&model)?),
        Helper::InstanceMemory => println!("{}", sandbox::resident_per_instance()?),
        Helper::Prepare => workloads::KINDS.iter().try_for_each(workloads::Kind::prepare)?,
        Helper::Echo { server, subject } => echo::run(&server, &subject).await?,
        Helper::Answer { server, subject, output, amount } => answer::run(&server, &subject, &output, amount).await?,
        Helper::BareLoop { server, stream, acks } => stream::bare_loop(&server, &stream, acks == "checked").await?,
        Helper::CarelessWorker { without, config } => {
            let promises = Promises { stored: without != "stored", acknowledged: without != "acknowledged" };
            serve::run(config, |loader| loader.promises = promises).await?;
        }
        Helper::NativeWorker { workload, config } => {
            anyhow::ensure!(native::choose(&workload), "there is no workload `{workload}`");
            serve::run(config, |loader| loader.transform = |stage, _| native::transform(stage)).await?;
        }
    }
    Ok(())
}

/// What `make bench` measures, with as long a start and as many swaps as there is time for.
async fn everything(
    arguments: &Arguments,
    start: &[start::Step],
    swaps: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    sandbox::measure(figures)?;
    engine::measure(figures)?;
    workers(arguments, figures).await?;
    batched(figures).await?;
    heavy(figures).await?;
    start::measure(start, figures).await?;
    swaps::measure(swaps, figures).await?;
    workload_runs::measure(&workloads::named(&[])?, WORKLOAD_ROUNDS, figures).await
}

/// All that there is. It takes hours, so what was measured is kept now and then.
async fn full(arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
    everything(arguments, start::LONG, swaps::LONG, figures).await?;
    keep_full(figures)?;
    growth::measure(&[], figures).await?;
    keep_full(figures)?;
    scale::measure(false, figures).await?;
    keep_full(figures)?;
    sandbox_peers::measure(figures)?;
    beside_peers(&[], &[], arguments.rounds, figures, keep_full).await
}

fn keep_full(figures: &Figures) -> anyhow::Result<()> {
    write(figures, "full.json", "report-full.html")
}

/// A server whose catalog has both versions of the digit model, the first one active.
async fn server() -> anyhow::Result<DevServer> {
    let server = DevServer::start(Settings::default()).await?;
    contestant::push(server.url(), "1.0.0", true).await?;
    contestant::push(server.url(), "1.1.0", false).await?;
    Ok(server)
}

async fn load(server: &DevServer, arguments: &Arguments) -> anyhow::Result<Load> {
    Load::new(async_nats::connect(server.url()).await?, arguments.in_flight, arguments.requests)
}

async fn workers(arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
    let floor = floor::measure()?;
    let server = server().await?;
    let load = load(&server, arguments).await?;
    let worker = versus::measure(&load, server.url(), arguments.rounds.unwrap_or(ROUNDS), floor, figures).await?;
    allocations::measure(&load, server.url()).await?.into_iter().for_each(|figure| figures.add(figure));
    figures.add(swap::measure(&load, &worker, arguments.bumps).await?);
    figures.add(bomb::measure(&load, &worker, arguments.rounds.unwrap_or(ROUNDS)).await?);
    worker.stop().await?;
    bumps::measure(&load, server.url(), STEADY_BUMPS, bumps::Kind::EachItsOwn, figures).await?;
    stream::measure(&load, server.url(), figures).await?;
    server.stop().await;
    Ok(())
}

/// On servers of their own: other workers would load these models, too.
async fn batched(figures: &mut Figures) -> anyhow::Result<()> {
    let server = server().await?;
    batching::measure(&async_nats::connect(server.url()).await?, server.url(), figures).await?;
    server.stop().await;
    Ok(())
}

async fn heavy(figures: &mut Figures) -> anyhow::Result<()> {
    let server = server().await?;
    heavy::measure(&async_nats::connect(server.url()).await?, server.url(), figures).await?;
    server.stop().await;
    Ok(())
}

/// On each workload that is named, or on all; what was measured is kept after each.
async fn beside_peers(
    workloads: &[String],
    names: &[String],
    rounds: Option<usize>,
    figures: &mut Figures,
    keep: impl Fn(&Figures) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let named = workloads.iter().map(|name| workloads::Kind::find(name)).collect::<anyhow::Result<Vec<_>>>()?;
    for kind in if named.is_empty() { workloads::KINDS.iter().collect() } else { named } {
        let (server, job) = if kind.name == workloads::KINDS[0].name {
            (server().await?, peers::Job::digits()?)
        } else {
            let job = peers::Job::of(workloads::Workload::load(kind, &bare::runtime()?)?)?;
            (workload_runs::server(kind).await?, job)
        };
        peers::measure(&job, &server, names, rounds.unwrap_or(PEER_ROUNDS), figures).await?;
        server.stop().await;
        keep(figures)?;
    }
    Ok(())
}

const ROUNDS: usize = 7;
/// Two contestants take six turns in each of them.
const PEER_ROUNDS: usize = 3;
const STEADY_BUMPS: usize = 1000;
const WORKLOAD_ROUNDS: usize = 3;

/// Both into `bench/results`.
fn write(figures: &Figures, json: &str, page: &str) -> anyhow::Result<()> {
    let folder = root().join("bench/results");
    figures.write(&folder.join(json))?;
    report::write(figures, &setting::settings(), &folder.join(page))
}
