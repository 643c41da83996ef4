//! A closed loop with a fixed number of requests in flight. Answers are checked and latencies are recorded.

pub mod pace;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _, TryStreamExt as _};

use crate::machine::process;
use crate::opponents::contestant::Contestant;
use crate::project::root;
use crate::workloads::picture::{self, RECORD};

pub struct Load {
    pub client: Client,
    pub in_flight: usize,
    pub requests: usize,
    payloads: Arc<Vec<(Bytes, u64)>>,
}

#[derive(Clone)]
pub struct Round {
    latencies: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

impl Load {
    pub fn new(client: Client, in_flight: usize, requests: usize) -> anyhow::Result<Self> {
        Ok(Self { client, in_flight, requests, payloads: Arc::new(Self::pictures()?) })
    }

    /// The enlarged held-out pictures with their labels.
    pub fn pictures() -> anyhow::Result<Vec<(Bytes, u64)>> {
        let folder = root().join("plugins/examples/digits/model");
        let records = std::fs::read(folder.join("heldout.bin"))?;
        let answers: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("heldout.json"))?)?;
        let predictions = answers["predictions"].as_array().context("the predictions in heldout.json")?;
        let pairs = records.chunks_exact(RECORD).zip(predictions);
        pairs
            .map(|(record, label)| {
                let label = label.as_u64().context("a prediction in heldout.json is not a number")?;
                Ok((picture::enlarged(record)?.into(), label))
            })
            .collect()
    }

    /// The payload of a request, and its correct label.
    pub fn payload(&self, number: usize) -> (Bytes, u64) {
        self.payloads[number % self.payloads.len()].clone()
    }

    pub async fn round(&self, contestant: &Contestant) -> anyhow::Result<Round> {
        let ask = |number| self.request(contestant, number);
        Round::run(contestant.process()?, self.requests, self.in_flight, ask).await
    }

    async fn request(&self, contestant: &Contestant, number: usize) -> anyhow::Result<Duration> {
        let (payload, label) = self.payload(number);
        let started = Instant::now();
        let reply = self.client.request(contestant.subject, payload.clone()).await?;
        let latency = started.elapsed();
        let right = if contestant.classifies { label_of(&reply)? == label } else { reply.payload == payload };
        anyhow::ensure!(right, "{} gave a wrong answer to request {number}", contestant.name);
        Ok(latency)
    }
}

/// The payload of a result; an error reply is an error.
pub fn result_of(reply: &Message) -> anyhow::Result<&[u8]> {
    let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name));
    if let Some(code) = header("Nats-Service-Error-Code") {
        bail!("{code}: {}", header("Nats-Service-Error").map(ToString::to_string).unwrap_or_default());
    }
    Ok(&reply.payload)
}

/// The label of a result; an error reply is an error.
pub fn label_of(reply: &Message) -> anyhow::Result<u64> {
    let result: serde_json::Value = serde_json::from_slice(result_of(reply)?)?;
    result["label"].as_u64().context("a result without a label")
}

impl Round {
    /// Sends requests to a process. `ask` sends one, checks the answer and returns the latency.
    pub async fn run<Asked>(
        process: u32,
        requests: usize,
        in_flight: usize,
        ask: impl Fn(usize) -> Asked,
    ) -> anyhow::Result<Self>
    where
        Asked: Future<Output = anyhow::Result<Duration>>,
    {
        Self::measured(|| process::cpu(process), stream::iter(0..requests), in_flight, ask).await
    }

    /// Like [`Self::run`], for any schedule and any measure of processor time.
    pub async fn measured<Due, Asked>(
        cpu: impl Fn() -> anyhow::Result<Duration>,
        due: impl Stream<Item = Due>,
        in_flight: usize,
        ask: impl Fn(Due) -> Asked,
    ) -> anyhow::Result<Self>
    where
        Asked: Future<Output = anyhow::Result<Duration>>,
    {
        let (before, started) = (cpu()?, Instant::now());
        let latencies: Vec<Duration> = due.map(ask).buffer_unordered(in_flight).try_collect().await?;
        let wall = started.elapsed();
        Ok(Self { latencies, wall, cpu: cpu()?.saturating_sub(before) })
    }

    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    pub fn wall(&self) -> Duration {
        self.wall
    }

    pub fn rate(&self) -> f64 {
        self.latencies.len() as f64 / self.wall.as_secs_f64()
    }

    pub fn cpu_micros(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.latencies.len() as f64
    }

    /// The latency quantile in microseconds.
    pub fn latency(&self, share: f64) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let at = ((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1));
        sorted.get(at).map_or(0.0, |latency| latency.as_secs_f64() * 1e6)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99) = (self.latency(0.5), self.latency(0.99));
        write!(
            f,
            "{:8.0} requests/s, {:6.1} µs CPU per message, p50 {p50:.0} µs, p99 {p99:.0} µs",
            self.rate(),
            self.cpu_micros()
        )
    }
}
