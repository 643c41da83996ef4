//! The arguments of a load test.

use std::path::PathBuf;
use std::time::Duration;

use async_nats::{HeaderName, HeaderValue};
use clap::{ArgGroup, Args, ValueEnum};
use inferbus::nats::connect::Connection;
use inferbus_catalog::{ModelName, RouteName, StreamName};
use inferbus_loadgen::generate::arrivals::Arrivals;
use inferbus_loadgen::limits;
use inferbus_loadgen::settings::{Length, Load, RunSettings};

use super::mix::Mix;
use crate::cli::print::Format;

const EXAMPLES: &str = "\
Examples:
  inferbus bench digits --payload image.dcam --rate 1000                  # open loop, 1000 requests per second
  inferbus bench digits --payload image.dcam --in-flight 64 --requests 100000
  inferbus bench digits --payload-dir images --expect results --sweep --report digits.html
  inferbus bench --mix digits=3,defect=1 --payload-dir by-model --rate 500 --arrivals poisson
  inferbus bench --stream SENSORS --publish sensors.cam.1 --results inference.cam.1 --payload image.dcam --rate 500

An open loop (--rate) sends each request at its due time, even while earlier requests wait. Latencies start at the due
time, so a stall counts for all delayed requests. A closed loop (--in-flight) sends a request after each answer. It
measures throughput; its latencies are less meaningful.

Every answer is checked. The exit code is 1 if any request failed, differed, was lost, was answered twice or was not
sent.

The load generator uses processor time of its machine and reports the amount. Run it away from workers and servers.";

/// The lowest rate of a sweep.
pub const LOWEST: f64 = 100.0;

/// How requests of an open loop are spaced
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Spacing {
    /// Constant intervals
    Even,
    /// Random intervals, as from many independent devices
    Poisson,
}

impl From<Spacing> for Arrivals {
    fn from(spacing: Spacing) -> Self {
        match spacing {
            Spacing::Even => Self::Even,
            Spacing::Poisson => Self::Poisson,
        }
    }
}

#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("target").required(true).args(["model", "subject", "mix", "stream"]),
    group = ArgGroup::new("carried").required(true).args(["payload", "payload_dir", "random", "zeros"]),
    group = ArgGroup::new("load").required(true).multiple(true).args(["rate", "in_flight", "sweep"]),
    after_help = EXAMPLES
)]
pub struct Arguments {
    /// The model, requested on `infer.<model>`
    pub(super) model: Option<ModelName>,
    /// Send requests to this subject instead
    #[arg(long, value_name = "SUBJECT")]
    pub(super) subject: Option<String>,
    /// Request several models by weight: digits=3,other=1
    #[arg(long, value_name = "MODELS")]
    pub(super) mix: Option<Mix>,
    /// Publish into this stream and account for every message
    #[arg(long, value_name = "STREAM", requires_all = ["publish", "results"])]
    pub(super) stream: Option<StreamName>,
    /// With --stream: the subject of published messages
    #[arg(long, value_name = "SUBJECT", requires = "stream")]
    pub(super) publish: Option<String>,
    /// With --stream: the subject of results; with wildcards, emitted events count as results
    #[arg(long, value_name = "SUBJECT", requires = "stream")]
    pub(super) results: Option<String>,
    /// With --stream: required results per message
    #[arg(long, value_name = "N", requires = "stream", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::RESULTS)))]
    pub(super) results_per_message: u32,
    /// With --stream: only results and dead letters of this route
    #[arg(long, value_name = "ROUTE", requires = "stream")]
    pub(super) route: Option<RouteName>,
    /// The prefix of the workers' request subjects
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer")]
    pub(super) prefix: String,

    /// Send this file
    #[arg(long, value_name = "FILE", help_heading = "Payload")]
    pub(super) payload: Option<PathBuf>,
    /// Send the files of this folder in turn, sorted by name; a subfolder `<model>` takes precedence
    #[arg(long, value_name = "FOLDER", help_heading = "Payload")]
    pub(super) payload_dir: Option<PathBuf>,
    /// Send random payloads of this size
    #[arg(long, value_name = "BYTES", help_heading = "Payload",
          value_parser = clap::value_parser!(u64).range(0..=inferbus::limits::PAYLOAD as u64))]
    pub(super) random: Option<u64>,
    /// Send zero tensors; for models without a pre plugin
    #[arg(long, help_heading = "Payload", conflicts_with = "stream")]
    pub(super) zeros: bool,
    /// A header of every message, as `Name: value`; repeatable
    #[arg(long = "header", short = 'H', value_name = "HEADER", help_heading = "Payload", value_parser = header)]
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The exact expected answer: a file, or a folder with one file per payload name [default: the first answer]
    #[arg(long, value_name = "FILE|FOLDER", help_heading = "Payload",
          conflicts_with_all = ["random", "allow_different"])]
    pub(super) expect: Option<PathBuf>,
    /// Allow different answers to the same payload
    #[arg(long, help_heading = "Payload")]
    pub(super) allow_different: bool,

    /// Open loop: requests per second; the lowest rate of a sweep
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = rate, conflicts_with = "in_flight")]
    pub(super) rate: Option<f64>,
    /// Open loop: spacing of requests
    #[arg(long, value_enum, default_value = "even", help_heading = "Load")]
    pub(super) arrivals: Spacing,
    /// Closed loop: requests in flight
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = outstanding)]
    pub(super) in_flight: Option<usize>,
    /// Find the highest sustained rate
    #[arg(long, help_heading = "Load", conflicts_with_all = ["in_flight", "requests"])]
    pub(super) sweep: bool,
    /// The highest acceptable p99 of a sweep [default: 10 times p99 at the lowest rate]
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, requires = "sweep")]
    pub(super) knee_p99: Option<Duration>,
    /// The duration of the run, or of each step of a sweep
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, default_value = "10s",
          conflicts_with = "requests")]
    pub(super) duration: Duration,
    /// The number of requests
    #[arg(long, value_name = "N", help_heading = "Load",
          value_parser = clap::value_parser!(u64).range(1..=limits::REQUESTS))]
    pub(super) requests: Option<u64>,
    /// Requests of this initial time are not counted
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = time, default_value = "1s")]
    pub(super) warm_up: Duration,
    /// Requests without an answer are lost after this time
    #[arg(long, value_name = "TIME", help_heading = "Load", value_parser = wait, default_value = "10s")]
    pub(super) wait: Duration,
    /// Open loop: the maximum of outstanding requests; further ones are counted instead of sent
    #[arg(long, value_name = "N", help_heading = "Load", value_parser = outstanding,
          default_value_t = limits::OUTSTANDING)]
    pub(super) max_outstanding: usize,
    /// The number of connections
    #[arg(long, value_name = "N", help_heading = "Load", default_value_t = 1,
          value_parser = clap::value_parser!(u16).range(1..=limits::CONNECTIONS as i64))]
    pub(super) connections: u16,
    /// The seed of payloads, mix and arrivals
    #[arg(long, value_name = "N", help_heading = "Load", default_value_t = 1)]
    pub(super) seed: u64,

    /// The output format
    #[arg(long, value_enum, default_value = "text")]
    pub(super) output: Format,
    /// Write an HTML page with tables and charts
    #[arg(long, value_name = "FILE.html")]
    pub(super) report: Option<PathBuf>,
    #[command(flatten)]
    pub(super) connection: Connection,
}

impl Arguments {
    pub fn run_settings(&self) -> RunSettings {
        let load = match self.in_flight {
            Some(in_flight) => Load::Closed { in_flight },
            None => Load::Open { rate: self.rate.unwrap_or(LOWEST), arrivals: self.arrivals.into() },
        };
        let length = self.requests.map_or(Length::For(self.duration), Length::Requests);
        RunSettings { load, warm_up: self.warm_up, length }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=limits::RATE).contains(rate));
    rate.ok_or_else(|| format!("write a number from 0.001 to {}", limits::RATE))
}

fn outstanding(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| (1..=limits::MAX_OUTSTANDING).contains(count));
    count.ok_or_else(|| format!("write a number from 1 to {}", limits::MAX_OUTSTANDING))
}

fn time(text: &str) -> Result<Duration, String> {
    let units = [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
    let seconds =
        units.iter().find_map(|(unit, seconds)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * seconds));
    let most = limits::LENGTH.as_secs_f64();
    let seconds = seconds.filter(|seconds| (0.0..=most).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "write a time of at most 24h, for example 500ms, 10s or 5m".into())
}

fn wait(text: &str) -> Result<Duration, String> {
    let most = limits::MAX_WAIT;
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
