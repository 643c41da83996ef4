//! Every setting of the worker and every environment name it reads.
//!
//! A setting is a flag, an environment name, and a default, in that order of precedence.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::connect::Connection;
use crate::limits;

#[derive(Clone, Debug, Args)]
pub struct WorkerConfig {
    #[command(flatten)]
    pub connection: Connection,
    #[command(flatten)]
    pub compute: Compute,
    #[command(flatten)]
    pub bus: BusSettings,
    /// Where health, readiness and metrics are served; port 0 takes a free one, which the log names
    #[arg(long, value_name = "ADDR:PORT", env = "INFERBUS_ADMIN", default_value = "127.0.0.1:0")]
    pub admin: SocketAddr,
    /// The worker's name in `inferbus status`
    #[arg(long, value_name = "NAME", env = "INFERBUS_NAME", default_value_t = default_name())]
    pub name: String,
    #[command(flatten)]
    pub log: LogSettings,
}

/// What a bundle runs on, with or without a bus.
#[derive(Clone, Debug, Args)]
pub struct Compute {
    /// Compute threads [default: one per processor]
    #[arg(long, value_name = "N", env = "INFERBUS_LANES", value_parser = clap::value_parser!(u16).range(1..=limits::LANES as i64))]
    pub lanes: Option<u16>,
    /// The ONNX Runtime library (libonnxruntime.so) [default: the system's]
    #[arg(long, value_name = "FILE", env = "ORT_DYLIB_PATH")]
    pub ort_library: Option<PathBuf>,
}

impl Compute {
    pub fn lane_count(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.lanes.map_or_else(processors, usize::from).min(limits::LANES)
    }
}

#[derive(Clone, Debug, Args)]
pub struct BusSettings {
    /// Requests are taken from `<PREFIX>.<model>`
    #[arg(long, value_name = "SUBJECT", env = "INFERBUS_PREFIX", default_value = "infer", value_parser = plain_subject)]
    pub prefix: String,
    /// Workers of one group share the messages
    #[arg(long, value_name = "NAME", env = "INFERBUS_GROUP", default_value = "inferbus", value_parser = plain_subject)]
    pub group: String,
    /// Messages in hand at once; one more is answered with code 429
    #[arg(long, value_name = "N", env = "INFERBUS_IN_FLIGHT", default_value_t = limits::IN_FLIGHT as u32,
          value_parser = clap::value_parser!(u32).range(1..=limits::IN_FLIGHT as i64))]
    pub in_flight: u32,
}

#[derive(Clone, Debug, Args)]
pub struct LogSettings {
    /// What is logged: a level, or `target=level` pairs
    #[arg(long = "log", value_name = "FILTER", env = "INFERBUS_LOG", default_value = "info,async_nats=warn,ort=warn")]
    pub filter: String,
    /// How log lines are written
    #[arg(long = "log-format", value_enum, env = "INFERBUS_LOG_FORMAT", default_value = "text")]
    pub format: LogFormat,
    /// Where spans are sent, for example http://localhost:4318 [default: nowhere]
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

/// Tokens between dots, without wildcards: anything else would subscribe to nothing, or to too much.
fn plain_subject(text: &str) -> Result<String, String> {
    let plain = |token: &str| !token.is_empty() && !token.contains(|c: char| c.is_whitespace() || "*>".contains(c));
    if text.split('.').all(plain) {
        return Ok(text.to_owned());
    }
    Err("write one or more words with dots between them, without spaces, `*` and `>`".into())
}

fn default_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = match host.trim() {
        "" => "worker",
        host => host,
    };
    format!("{host}-{}", std::process::id())
}
