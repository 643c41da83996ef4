//! The command line of `inferbus-bench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use inferbus::config::WorkerConfig;
use inferbus_bench::helpers::answer::Amount;

#[derive(Debug, Parser)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub options: Options,
}

#[derive(Debug, Args)]
pub struct Options {
    /// Rounds of each contestant [default: 7, or 3 beside a peer]
    #[arg(long)]
    pub rounds: Option<usize>,
    /// Requests of one round
    #[arg(long, default_value_t = 40_000)]
    pub requests: usize,
    /// Requests in flight
    #[arg(long, default_value_t = 64)]
    pub in_flight: usize,
    /// Version bumps under load
    #[arg(long, default_value_t = 30)]
    pub bumps: usize,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure the sandbox alone, without a server
    Sandbox,
    /// Measure the engine alone, and a worker with models of 100 MB
    Engine,
    /// Measure a model with batching and without
    Batching,
    /// Measure a thousand version bumps under a steady load
    Bumps {
        #[arg(default_value_t = 1000)]
        bumps: usize,
    },
    /// Measure the worker and its sandbox beside peers: all of them, or the named ones
    Peers {
        names: Vec<String>,
        /// The workload: tiny, audio, image, jpeg, filter or fan_out; repeatable [default: all]
        #[arg(long)]
        workload: Vec<String>,
    },
    /// Measure one sandboxed call beside other ways to isolate a function
    SandboxPeers,
    /// Measure everything, in long runs
    Full,
    /// Measure the growth of costs: all curves, or the named ones
    Growth { names: Vec<String> },
    /// Measure the start of a worker with 1, 50 and 500 models
    Start {
        /// With 1 and 50 only, as in `make bench`
        #[arg(long)]
        short: bool,
    },
    /// Measure swaps of small and large models, and their effect on a neighbour
    Swap {
        /// With few rounds, as in `make bench`
        #[arg(long)]
        short: bool,
    },
    /// Measure the costs of many workers on one server: starts, changes, idle time, a killed server
    Scale {
        /// With few planes, in a minute
        #[arg(long)]
        short: bool,
        /// Print the tables of docs/explanation/scale.md instead of measuring
        #[arg(long)]
        table: bool,
    },
    /// Measure routes of mode stream
    Stream,
    /// Measure the allocations of a message
    Allocations,
    /// Measure the workloads of bench/workloads: all of them, or the named ones
    Workloads { names: Vec<String> },
    #[command(flatten)]
    Helper(Box<Helper>),
}

// Programs that the benchmark starts as separate processes. (A doc comment would describe the whole command.)
#[derive(Debug, Subcommand)]
pub enum Helper {
    /// Run a model file once on bare ONNX Runtime; print the milliseconds
    BareFirst { model: PathBuf },
    /// Fetch from a stream, publish and acknowledge, with `plain` or `checked` acks: the cost of a stream without
    /// inference
    BareLoop { server: String, stream: String, acks: String },
    /// A worker that does not wait until a result is `stored`, or until its ack is `acknowledged`
    CarelessWorker {
        without: String,
        #[command(flatten)]
        config: WorkerConfig,
    },
    /// Answer every request with its payload: the cost of the bus alone
    Echo { server: String, subject: String },
    /// Write the workloads' networks
    Prepare,
    /// Answer every request with bytes and messages of fixed sizes: the cost of the bus for a workload
    Answer {
        server: String,
        subject: String,
        output: String,
        #[command(flatten)]
        amount: Amount,
    },
    /// A worker with native transforms of a workload, for comparison with the sandbox
    NativeWorker {
        #[arg(long, default_value = "tiny")]
        workload: String,
        #[command(flatten)]
        config: WorkerConfig,
    },
    /// Print the memory of a warm plugin instance
    InstanceMemory,
}

impl Helper {
    /// On one thread, like a worker.
    pub fn is_on_one_thread(&self) -> bool {
        matches!(self, Self::NativeWorker { .. } | Self::CarelessWorker { .. } | Self::BareLoop { .. })
    }
}

/// File names in `bench/results`.
pub struct Output {
    pub json: &'static str,
    pub page: &'static str,
}

pub const FULL: Output = Output { json: "full.json", page: "report-full.html" };
pub const PEERS: Output = Output { json: "peers.json", page: "report-peers.html" };

impl Command {
    /// The files of this measurement. Partial measurements are only printed.
    pub fn output(command: Option<&Self>) -> Option<Output> {
        match command {
            None => Some(Output { json: "figures.json", page: "report.html" }),
            Some(Self::Full) => Some(FULL),
            Some(Self::Peers { names, workload }) if names.is_empty() && workload.is_empty() => Some(PEERS),
            Some(Self::Growth { names }) if names.is_empty() => {
                Some(Output { json: "growth.json", page: "report-growth.html" })
            }
            Some(Self::Scale { .. }) => Some(Output { json: "scale.json", page: "report-scale.html" }),
            Some(_) => None,
        }
    }
}
