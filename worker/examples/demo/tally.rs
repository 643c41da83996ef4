//! The account of every picture: sent, answered, lost, failed, and by which version.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use async_nats::Message;

pub struct Answer {
    pub version: String,
    pub label: u64,
    pub confidence: f64,
    pub latency: Duration,
}

impl Answer {
    /// An error reply is an error.
    pub fn read(reply: &Message, latency: Duration) -> anyhow::Result<Self> {
        let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string);
        if let Some(code) = header("Nats-Service-Error-Code") {
            bail!(Refused(format!("{code}: {}", header("Nats-Service-Error").unwrap_or_default())));
        }
        let result: serde_json::Value = serde_json::from_slice(&reply.payload).context("a result that is not JSON")?;
        Ok(Self {
            version: header("Inferbus-Version").context("a result without a version")?,
            label: result["label"].as_u64().context("a result without a label")?,
            confidence: result["confidence"].as_f64().unwrap_or_default(),
            latency,
        })
    }
}

/// An answer that says no, as against none at all.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(String);

/// Answers in a row from one version after which no worker is still on the other.
const SETTLED: u32 = 100;

#[derive(Default)]
pub struct Tally {
    sent: u32,
    answered: u32,
    errors: u32,
    lost: u32,
    /// The version that each phase ended on.
    phases: Vec<String>,
    row: u32,
    latencies: Vec<Duration>,
    began: Option<Instant>,
    first_error: Option<String>,
}

impl Tally {
    pub fn begin_phase(&mut self) {
        self.phases.push(String::new());
        self.row = 0;
    }

    pub fn sent(&mut self) {
        self.began.get_or_insert_with(Instant::now);
        self.sent += 1;
    }

    pub fn answered(&mut self, answer: &anyhow::Result<Answer>) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(fault) => return self.failed(fault),
        };
        self.answered += 1;
        self.latencies.push(answer.latency);
        if let Some(phase) = self.phases.last_mut() {
            self.row = if *phase == answer.version { self.row + 1 } else { 1 };
            phase.clone_from(&answer.version);
        }
    }

    fn failed(&mut self, fault: &anyhow::Error) {
        if fault.is::<Refused>() {
            self.answered += 1;
            self.errors += 1;
        } else {
            self.lost += 1;
        }
        self.first_error.get_or_insert_with(|| format!("{fault:#}"));
    }

    /// Whether the phase's version has answered alone for a while.
    pub fn settled_on(&self, version: &str) -> bool {
        self.phases.last().is_some_and(|phase| phase == version) && self.row >= SETTLED.min(self.sent)
    }

    pub fn rate(&self) -> f64 {
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if seconds > 0.0 { f64::from(self.answered) / seconds } else { 0.0 }
    }

    /// The latency below which this share of the last answers stayed.
    pub fn latency(&self, share: f64) -> Duration {
        let mut last: Vec<Duration> = self.latencies.iter().rev().take(1000).copied().collect();
        last.sort_unstable();
        let at = (last.len() as f64 * share) as usize;
        last.get(at.min(last.len().saturating_sub(1))).copied().unwrap_or_default()
    }

    pub fn sent_and_answered(&self) -> (u32, u32) {
        (self.sent, self.answered)
    }

    pub fn speed(&self) -> String {
        format!(
            "demo: {:.0} answers per second (the camera's pace), latency p50 {:.1?}, p99 {:.1?}",
            self.rate(),
            self.latency(0.5),
            self.latency(0.99)
        )
    }

    pub fn line(&self) -> String {
        let error = self.first_error.as_ref().map(|error| format!(" (first: {error})")).unwrap_or_default();
        format!(
            "demo: {} sent, {} answered, {} lost, {} errors{error}, versions {}",
            self.sent,
            self.answered,
            self.lost,
            self.errors,
            self.phases.join(" → ")
        )
    }

    pub fn is_good(&self, versions: &[&str]) -> bool {
        self.sent == self.answered && self.lost == 0 && self.errors == 0 && self.phases == versions
    }
}
