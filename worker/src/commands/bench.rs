//! `inferbus bench`: load on a deployment, every answer checked.

mod settings;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::{HeaderName, HeaderValue};
use clap::{ArgGroup, Args};
use inferbus::bench::arrivals::Arrivals;
use inferbus::bench::mix::Mix;
use inferbus::bench::report::{Report, Row};
use inferbus::bench::run::{Bench, Length, Load, Stint, run as measure};
use inferbus::bench::sweep::{Judge, Search};
use inferbus::limits;
use inferbus::nats::connect::Connection;
use inferbus_catalog::{ModelName, RouteName, StreamName};
use tokio_util::sync::CancellationToken;

use super::stop;
use crate::cli::Format;
use crate::exit;

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["model", "subject", "mix", "stream"]),
    group = ArgGroup::new("carried").required(true).args(["payload", "payload_dir", "random", "zeros"]),
    group = ArgGroup::new("load").required(true).multiple(true).args(["rate", "in_flight", "sweep"]),
    after_help = "Examples:\n  inferbus bench digits --payload image.dcam --rate 1000                      # a thousand a second, whatever happens\n  inferbus bench digits --payload image.dcam --in-flight 64 --requests 100000\n  inferbus bench digits --payload-dir images --expect results --sweep --report digits.html\n  inferbus bench --mix digits=3,defect=1 --payload-dir by-model --rate 500 --arrivals poisson\n  inferbus bench --stream SENSORS --publish sensors.cam.1 --results inference.cam.1 --payload image.dcam --rate 500\n\nAn open loop (--rate) sends each request when it is due, also while earlier ones wait, and its latencies begin at that time, so a\nstall is charged with all that it held up. A closed loop (--in-flight) sends the next when one has ended: it finds the throughput,\nand its latencies say little.\n\nEvery answer is checked. The exit code is 1 if anything failed, differed, was lost, came twice or was not sent.\n\nThe generator uses processor time of the machine that it runs on, and says how much; on the machine of the worker or the\nserver it takes that time from them."
)]
pub struct Arguments {
    /// The model to ask on `infer.<model>`
    model: Option<ModelName>,
    /// Ask on this subject instead
    #[arg(long, value_name = "SUBJECT")]
    subject: Option<String>,
    /// Ask several models, by weight: digits=3,other=1
    #[arg(long, value_name = "MODELS")]
    mix: Option<Mix>,
    /// Publish into this stream, and account for every message of it
    #[arg(long, value_name = "STREAM", requires_all = ["publish", "results"])]
    stream: Option<StreamName>,
    /// With --stream: where messages are published
    #[arg(long, value_name = "SUBJECT", requires = "stream")]
    publish: Option<String>,
    /// With --stream: where their results come; may hold `*` and `>`, and then emitted events are results as well
    #[arg(long, value_name = "SUBJECT", requires = "stream")]
    results: Option<String>,
    /// With --stream: results that each message must have
    #[arg(long, value_name = "N", requires = "stream", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::BENCH_RESULTS)))]
    results_per_message: u32,
    /// With --stream: only results and dead letters of this route
    #[arg(long, value_name = "ROUTE", requires = "stream")]
    route: Option<RouteName>,
    /// The prefix of the workers' request subjects
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer")]
    prefix: String,

    /// Send this file
    #[arg(long, value_name = "FILE", help_heading = "Payload")]
    payload: Option<PathBuf>,
    /// Send the files of this folder in turn, by name; of its folder `<model>`, if there is one
    #[arg(long, value_name = "FOLDER", help_heading = "Payload")]
    payload_dir: Option<PathBuf>,
    /// Send so many bytes of chance
    #[arg(long, value_name = "BYTES", help_heading = "Payload",
          value_parser = clap::value_parser!(u64).range(0..=limits::PAYLOAD as u64))]
    random: Option<u64>,
    /// Send tensors of zeros; for models without a pre plugin
    #[arg(long, help_heading = "Payload", conflicts_with = "stream")]
    zeros: bool,
    /// A header of every message, as `Name: value`; can be given several times
    #[arg(long = "header", short = 'H', value_name = "HEADER", help_heading = "Payload", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The right answer, byte for byte: a file, or a folder with files of the payloads' names [default: the first answer]
    #[arg(long, value_name = "FILE|FOLDER", help_heading = "Payload", conflicts_with_all = ["random", "may_differ"])]
    expect: Option<PathBuf>,
    /// The same payload may have other answers
    #[arg(long, help_heading = "Payload")]
    may_differ: bool,

    /// Open loop: requests per second; the lowest rate of a sweep
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = rate, conflicts_with = "in_flight")]
    rate: Option<f64>,
    /// How requests of an open loop are spread
    #[arg(long, value_enum, default_value = "even", help_heading = "Load")]
    arrivals: Arrivals,
    /// Closed loop: requests that are always under way
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = outstanding)]
    in_flight: Option<usize>,
    /// Find the highest rate that the deployment holds
    #[arg(long, help_heading = "Load", conflicts_with_all = ["in_flight", "requests"])]
    sweep: bool,
    /// The highest p99 that a sweep takes for good [default: 10 times that at the lowest rate]
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, requires = "sweep")]
    knee_p99: Option<Duration>,
    /// Send for so long; at each rate of a sweep
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, default_value = "10s", conflicts_with = "requests")]
    duration: Duration,
    /// Send so many requests
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = clap::value_parser!(u64).range(1..=limits::BENCH_REQUESTS))]
    requests: Option<u64>,
    /// Do not count what is sent in the beginning
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, default_value = "1s")]
    warm_up: Duration,
    /// Count an answer as lost after this
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = wait, default_value = "10s")]
    wait: Duration,
    /// Of an open loop: do not send, and count, what is due while so many have no answer yet
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = outstanding, default_value_t = limits::BENCH_OUTSTANDING)]
    outstanding: usize,
    /// Spread the load over so many connections
    #[arg(long, value_name = "N", help_heading = "Load", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=limits::BENCH_CONNECTIONS as i64))]
    connections: u16,
    /// The same seed gives the same payloads, mix and arrivals
    #[arg(long, value_name = "N", help_heading = "Load", default_value_t = 1)]
    seed: u64,

    /// How the result is printed
    #[arg(long, value_enum, default_value = "text")]
    output: Format,
    /// Write a page with tables and charts
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// The lowest rate of a sweep.
const LOWEST: f64 = 100.0;

/// What was measured.
struct Found {
    rows: Vec<Row>,
    /// Of a sweep: the highest rate that held, if any did.
    knee: Option<Option<f64>>,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let bench = Arc::new(settings::bench(&arguments).await?);
    let stop = stop::on_signal()?;
    let found = if arguments.sweep {
        sweep(&arguments, &bench, &stop).await?
    } else {
        let outcome = measure(&bench, arguments.stint(), &stop).await?;
        Found { rows: Row::new(outcome).into_iter().collect(), knee: None }
    };
    if let Some(file) = &arguments.report {
        let (title, settings) = (settings::title(&bench), settings::told(&arguments, &bench));
        let report = Report { title: &title, settings: &settings, runs: &found.rows, knee: found.knee };
        std::fs::write(file, report.html())
            .with_context(|| format!("the report {} cannot be written", file.display()))?;
    }
    match arguments.output {
        Format::Json => show::json(&settings::told(&arguments, &bench), &found)?,
        Format::Text => show::text(&found),
    }
    Ok(if show::is_good(&found) { ExitCode::SUCCESS } else { ExitCode::from(exit::FAILED) })
}

async fn sweep(arguments: &Arguments, bench: &Arc<Bench>, stop: &CancellationToken) -> anyhow::Result<Found> {
    let mut search = Search::new(arguments.rate.unwrap_or(LOWEST));
    let (mut judge, mut rows) = (Judge::new(arguments.knee_p99), Vec::new());
    while let Some(rate) = search.next() {
        let load = Load::Open { rate, arrivals: arguments.arrivals };
        let outcome = measure(bench, Stint { load, ..arguments.stint() }, stop).await?;
        let stopped = outcome.stopped;
        if let Some(row) = Row::judged(outcome, &mut judge) {
            show::step(&row);
            // A step that was cut off says nothing of its rate.
            if !stopped {
                search.told(row.breach.is_none());
            }
            rows.push(row);
        }
        if stopped {
            break;
        }
    }
    Ok(Found { rows, knee: Some(search.knee()) })
}

impl Arguments {
    fn stint(&self) -> Stint {
        let load = match self.in_flight {
            Some(in_flight) => Load::Closed { in_flight },
            None => Load::Open { rate: self.rate.unwrap_or(LOWEST), arrivals: self.arrivals },
        };
        let length = self.requests.map_or(Length::For(self.duration), Length::Requests);
        Stint { load, warm_up: self.warm_up, length }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=limits::BENCH_RATE).contains(rate));
    rate.ok_or_else(|| format!("write a number from 0.001 to {}", limits::BENCH_RATE))
}

fn outstanding(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=limits::BENCH_MOST_OUTSTANDING).contains(count));
    count.ok_or_else(|| format!("write a number from 1 to {}", limits::BENCH_MOST_OUTSTANDING))
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds =
        units.iter().find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds));
    let most = limits::BENCH_LENGTH.as_secs_f64();
    let seconds = seconds.filter(|seconds| (0.0..=most).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a time of at most 24h, for example 500ms, 10s or 5m".into())
}

fn wait(text: &str) -> Result<Duration, String> {
    let most = limits::BENCH_MOST_WAIT;
    time(text)
        .ok()
        .filter(|wait| *wait <= most && !wait.is_zero())
        .ok_or_else(|| format!("write a time of at most {} min, for example 10s", most.as_secs() / 60))
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write a header as `Name: value`")?;
    let name = name.trim().parse::<HeaderName>().map_err(|fault| format!("`{name}`: {fault}"))?;
    let value = value.trim().parse::<HeaderValue>().map_err(|fault| format!("`{value}`: {fault}"))?;
    Ok((name, value))
}
