//! Counts of all pictures: sent, answered, lost, failed, and the versions of the answers.

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
    /// Fails for an error reply.
    pub fn read(reply: &Message, latency: Duration) -> anyhow::Result<Self> {
        let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name)).map(ToString::to_string);
        if let Some(code) = header("Nats-Service-Error-Code") {
            bail!(ErrorReply(format!("{code}: {}", header("Nats-Service-Error").unwrap_or_default())));
        }
        let result: serde_json::Value = serde_json::from_slice(&reply.payload).context("the result is not JSON")?;
        Ok(Self {
            version: header("Inferbus-Version").context("the result lacks a version")?,
            label: result["label"].as_u64().context("the result lacks a label")?,
            confidence: result["confidence"].as_f64().unwrap_or_default(),
            latency,
        })
    }
}

/// An error reply, as opposed to a missing reply.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct ErrorReply(String);

/// After this number of consecutive answers from one version, all workers have switched.
const SETTLED: u32 = 100;

#[derive(Default)]
pub struct Tally {
    sent: u32,
    answered: u32,
    errors: u32,
    lost: u32,
    /// The last version of each phase.
    phases: Vec<String>,
    /// Consecutive answers from the present version.
    consecutive: u32,
    latencies: Vec<Duration>,
    began: Option<Instant>,
    first_error: Option<String>,
}

impl Tally {
    pub fn begin_phase(&mut self) {
        self.phases.push(String::new());
        self.consecutive = 0;
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
            self.consecutive = if *phase == answer.version { self.consecutive + 1 } else { 1 };
            phase.clone_from(&answer.version);
        }
    }

    fn failed(&mut self, fault: &anyhow::Error) {
        if fault.is::<ErrorReply>() {
            self.answered += 1;
            self.errors += 1;
        } else {
            self.lost += 1;
        }
        self.first_error.get_or_insert_with(|| format!("{fault:#}"));
    }

    /// Whether only this version has answered for a while.
    pub fn settled_on(&self, version: &str) -> bool {
        self.phases.last().is_some_and(|phase| phase == version) && self.consecutive >= SETTLED.min(self.sent)
    }

    pub fn rate(&self) -> f64 {
        let seconds = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if seconds > 0.0 { f64::from(self.answered) / seconds } else { 0.0 }
    }

    /// A quantile of the latency of the last 1000 answers.
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
