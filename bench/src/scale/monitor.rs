//! Counters of a server and of this process: messages, bytes and processor time.

use std::ops::Sub;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::machine::process;

/// Bounds of an answer of the server's monitoring.
const ANSWER: Duration = Duration::from_secs(20);
const ANSWER_BYTES: u64 = 1 << 20;

/// Monotonic counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    /// Messages and payload bytes to clients, and messages from clients.
    pub sent: f64,
    pub sent_bytes: f64,
    pub taken: f64,
    /// Requests rejected by JetStream.
    pub refused: f64,
    server_cpu: Duration,
    own_cpu: Duration,
}

/// The difference of two readings.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub seconds: f64,
    pub sent: f64,
    pub sent_bytes: f64,
    pub taken: f64,
    pub refused: f64,
    /// Processor seconds of the server and of all planes.
    pub server_cpu: f64,
    pub own_cpu: f64,
}

impl Sub for Reading {
    type Output = Spent;

    fn sub(self, before: Self) -> Spent {
        Spent {
            seconds: (self.at - before.at).as_secs_f64(),
            sent: self.sent - before.sent,
            sent_bytes: self.sent_bytes - before.sent_bytes,
            taken: self.taken - before.taken,
            refused: self.refused - before.refused,
            server_cpu: (self.server_cpu.saturating_sub(before.server_cpu)).as_secs_f64(),
            own_cpu: (self.own_cpu - before.own_cpu).as_secs_f64(),
        }
    }
}

impl Reading {
    /// Reads the server's monitoring at this address, and /proc.
    pub async fn take(monitor: &str, server: u32) -> anyhow::Result<Self> {
        let (all, jetstream) = (get(monitor, "/varz").await?, get(monitor, "/jsz").await?);
        Ok(Self {
            at: Instant::now(),
            sent: number(&all["out_msgs"], "out_msgs")?,
            sent_bytes: number(&all["out_bytes"], "out_bytes")?,
            taken: number(&all["in_msgs"], "in_msgs")?,
            refused: number(&jetstream["api"]["errors"], "api.errors")?,
            server_cpu: process::cpu(server)?,
            own_cpu: process::cpu(std::process::id())?,
        })
    }

    /// The counters of a new server, and this process's processor time.
    pub fn of_a_new_server() -> anyhow::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            sent: 0.0,
            sent_bytes: 0.0,
            taken: 0.0,
            refused: 0.0,
            server_cpu: Duration::ZERO,
            own_cpu: process::cpu(std::process::id())?,
        })
    }
}

/// Only the messages from clients, at a lower cost. JetStream's count excludes reads of single messages.
pub async fn taken(monitor: &str) -> anyhow::Result<f64> {
    number(&get(monitor, "/varz").await?["in_msgs"], "in_msgs")
}

fn number(value: &Value, name: &str) -> anyhow::Result<f64> {
    // A server omits zeros.
    if value.is_null() {
        return Ok(0.0);
    }
    value.as_f64().with_context(|| format!("the server's {name} is not a number"))
}

async fn get(monitor: &str, path: &str) -> anyhow::Result<Value> {
    let exchanged = tokio::time::timeout(ANSWER, exchange(monitor, path)).await;
    exchanged.with_context(|| format!("{monitor}{path} did not answer in time"))?
}

/// With HTTP/1.0, the server closes after its answer.
async fn exchange(monitor: &str, path: &str) -> anyhow::Result<Value> {
    let host = monitor.strip_prefix("http://").with_context(|| format!("{monitor} is not an HTTP address"))?;
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("{monitor} cannot be reached"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    ensure!(answer.split_whitespace().nth(1) == Some("200"), "{monitor}{path} was rejected");
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(serde_json::from_str(body)?)
}
