//! What a server and this process have done so far: messages, bytes, processor time and memory.

use std::ops::Sub;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::process;

/// How long the server's monitoring may take for one answer, and how much it may say.
const ANSWER: Duration = Duration::from_secs(20);
const ANSWER_BYTES: u64 = 1 << 20;

/// Numbers that only grow, as of one moment.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    at: Instant,
    /// Messages and bytes of payloads that the server sent to clients, and messages that it took from them.
    pub sent: f64,
    pub sent_bytes: f64,
    pub taken: f64,
    /// Requests that JetStream refused.
    pub refused: f64,
    server_cpu: Duration,
    own_cpu: Duration,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    pub seconds: f64,
    pub sent: f64,
    pub sent_bytes: f64,
    pub taken: f64,
    pub refused: f64,
    /// Seconds of processor time, of the server and of all planes.
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
    /// Asks the server whose monitoring is at this address, and the operating system.
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

    /// What this process had used when a server began that has done nothing yet.
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

/// Only the messages that the server took, which costs less. JetStream's own count leaves out reads of single messages.
pub async fn taken(monitor: &str) -> anyhow::Result<f64> {
    number(&get(monitor, "/varz").await?["in_msgs"], "in_msgs")
}

fn number(value: &Value, name: &str) -> anyhow::Result<f64> {
    // A server leaves out what is zero.
    if value.is_null() {
        return Ok(0.0);
    }
    value.as_f64().with_context(|| format!("the server's {name} is no number"))
}

async fn get(monitor: &str, path: &str) -> anyhow::Result<Value> {
    let asked = tokio::time::timeout(ANSWER, exchange(monitor, path)).await;
    asked.with_context(|| format!("{monitor}{path} did not answer in time"))?
}

/// HTTP/1.0 has the server end its answer by closing.
async fn exchange(monitor: &str, path: &str) -> anyhow::Result<Value> {
    let host = monitor.strip_prefix("http://").with_context(|| format!("{monitor} is no address of HTTP"))?;
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("{monitor} cannot be reached"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES).read_to_end(&mut answer).await?;
    let answer = String::from_utf8(answer)?;
    ensure!(answer.split_whitespace().nth(1) == Some("200"), "{monitor}{path} is refused");
    let (_, body) = answer.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(serde_json::from_str(body)?)
}
