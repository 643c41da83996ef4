//! A thousand version bumps under a steady load: their effect on latency and on the worker's memory.
//!
//! Requests follow a fixed interval that leaves processors idle. Latencies start at the due time, so a stalled worker
//! is visible. Any error or wrong answer ends the measurement.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::kv::Store;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::latencies::{Latencies, version_of};
use crate::load::{Load, label_of};
use crate::machine::process;
use crate::opponents::contestant::Contestant;
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;

const INTERVAL: Duration = Duration::from_millis(2);
const BETWEEN: Duration = Duration::from_millis(25);
const FIRST: usize = 50;
/// Requests before the first bump.
const CALM: Duration = Duration::from_secs(10);
/// Memory is the median of this many readings.
const READINGS: usize = 20;

/// The sequence of versions.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Two versions in turn.
    Two,
    /// A new digest for each bump.
    EachItsOwn,
}

impl Kind {
    /// The suffix of a figure's name.
    fn suffix(self) -> &'static str {
        match self {
            Self::Two => ".two_in_turn",
            Self::EachItsOwn => "",
        }
    }
}

struct Traffic<'a> {
    load: &'a Load,
    worker: &'a Contestant,
    latencies: Latencies,
    over: AtomicBool,
    sent: AtomicUsize,
    /// The version of the newest answer.
    version: watch::Sender<String>,
}

/// The measured values of all bumps.
struct Bumped {
    /// The p99 before and during the bumps.
    calm: f64,
    swapping: f64,
    times: Vec<f64>,
    resident: Vec<f64>,
}

pub async fn measure(load: &Load, server: &str, bumps: usize, kind: Kind, figures: &mut Figures) -> anyhow::Result<()> {
    let worker = Contestant::worker(server).await?;
    let jetstream = async_nats::jetstream::new(load.client.clone());
    let models = jetstream.get_key_value("models").await.context("the bucket `models`")?;
    let versions = versions(&models, bumps, kind).await?;
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let version = watch::channel(String::new()).0;
    let traffic = Traffic { load, worker: &worker, latencies: Latencies::default(), over, sent, version };
    let ((), bumped) = tokio::try_join!(traffic.run(), traffic.bump(&models, versions))?;
    let Bumped { calm, swapping, times, resident } = bumped;
    let early = median(resident.iter().skip(FIRST.saturating_sub(READINGS)).take(READINGS));
    let late = median(resident.iter().rev().take(READINGS));
    eprintln!(
        "{bumps} version bumps ({kind:?}) under {} requests: none lost, none failed; p99 {calm:.2} ms before, \
         {swapping:.2} ms during; {:.1} MiB after {FIRST}, {:.1} MiB at the end",
        traffic.sent.load(Ordering::Relaxed),
        early / 1048576.0,
        late / 1048576.0
    );
    let mut figure =
        |name, unit, values| figures.add(Figure::of(&format!("swap.{name}{}", kind.suffix()), unit, values));
    figure("rss_growth_ratio", "× resident after 50 bumps", vec![late / early]);
    figure("p99_ratio", "× p99 before the bumps", vec![swapping / calm]);
    figure("steady_first_result_ms", "ms from put to first result, steady load", times);
    worker.stop().await
}

/// The versions to activate, in order.
async fn versions(models: &Store, bumps: usize, kind: Kind) -> anyhow::Result<Vec<String>> {
    let mut versions = Vec::new();
    for number in 0..bumps {
        versions.push(match kind {
            Kind::Two => ["1.1.0", "1.0.0"][number % 2].to_owned(),
            Kind::EachItsOwn => format!("2.0.{number}"),
        });
    }
    if matches!(kind, Kind::EachItsOwn) {
        let entry = models.get("digits.1.0.0").await?.context("the entry of digits 1.0.0")?;
        let mut entry: Value = serde_json::from_slice(&entry)?;
        for version in &versions {
            entry["labels"] = json!({ "bump": version });
            models.put(format!("digits.{version}"), entry.to_string().into()).await?;
        }
    }
    Ok(versions)
}

fn median<'a>(values: impl Iterator<Item = &'a f64>) -> f64 {
    Figure::of("", "", values.copied()).value
}

impl Traffic<'_> {
    async fn bump(&self, models: &Store, versions: Vec<String>) -> anyhow::Result<Bumped> {
        let process = self.worker.process()?;
        tokio::time::sleep(CALM).await;
        let calm = self.latencies.take_p99();
        let mut seen = self.version.subscribe();
        let (mut times, mut resident) = (Vec::new(), Vec::new());
        for version in versions {
            let started = Instant::now();
            models.put("digits", version.clone().into()).await?;
            seen.wait_for(|answered| *answered == version).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(BETWEEN).await;
            resident.push(process::resident(process)? as f64);
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(Bumped { calm, swapping: self.latencies.take_p99(), times, resident })
    }

    async fn run(&self) -> anyhow::Result<()> {
        let mut interval = tokio::time::interval(INTERVAL);
        let mut in_flight = FuturesUnordered::new();
        loop {
            let over = self.over.load(Ordering::Relaxed);
            if over && in_flight.is_empty() {
                return Ok(());
            }
            tokio::select! {
                due = interval.tick(), if in_flight.len() < self.load.in_flight && !over => {
                    in_flight.push(self.request(due.into_std()));
                }
                Some(answered) = in_flight.next() => answered?,
            }
        }
    }

    async fn request(&self, due: Instant) -> anyhow::Result<()> {
        let (payload, label) = self.load.payload(self.sent.fetch_add(1, Ordering::Relaxed));
        let reply = self.load.client.request(self.worker.subject, payload).await?;
        self.latencies.add_since(due);
        anyhow::ensure!(label_of(&reply)? == label, "a wrong answer during a swap");
        let version = version_of(&reply).unwrap_or_default();
        self.version.send_if_modified(|last| {
            let is_new = *last != version;
            *last = version;
            is_new
        });
        Ok(())
    }
}
