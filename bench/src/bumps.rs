//! A thousand version bumps under a steady load: what they do to the latency and to the worker's memory.
//!
//! Requests are sent on a beat that leaves processors free, and are timed from when they were due, so that a worker that
//! stands still is seen. Any error or wrong answer ends the measurement.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::kv::Store;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::contestant::Contestant;
use crate::figures::{Figure, Figures};
use crate::load::{Load, label_of};
use crate::process;

const BEAT: Duration = Duration::from_millis(2);
const BETWEEN: Duration = Duration::from_millis(25);
const FIRST: usize = 50;
/// Requests before the first bump.
const CALM: Duration = Duration::from_secs(10);
/// Memory is the median of so many readings.
const READINGS: usize = 20;

/// Which versions follow one another.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Two, again and again.
    Two,
    /// Each with a digest of its own.
    EachItsOwn,
}

impl Kind {
    /// What is appended to a figure's name.
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
    latencies: Mutex<Vec<f64>>,
    over: AtomicBool,
    sent: AtomicUsize,
    /// The version of the newest answer.
    version: watch::Sender<String>,
}

pub async fn measure(load: &Load, server: &str, bumps: usize, kind: Kind, figures: &mut Figures) -> anyhow::Result<()> {
    let worker = Contestant::worker(server).await?;
    let process = worker.process()?;
    let jetstream = async_nats::jetstream::new(load.client.clone());
    let models = jetstream.get_key_value("models").await.context("the bucket `models`")?;
    let versions = versions(&models, bumps, kind).await?;
    let (latencies, over, sent) = (Mutex::default(), AtomicBool::new(false), AtomicUsize::new(0));
    let traffic = Traffic { load, worker: &worker, latencies, over, sent, version: watch::channel(String::new()).0 };
    let swaps = async {
        tokio::time::sleep(CALM).await;
        let calm = traffic.p99();
        let mut seen = traffic.version.subscribe();
        let (mut times, mut resident) = (Vec::new(), Vec::new());
        for version in versions {
            let started = Instant::now();
            models.put("digits", version.clone().into()).await?;
            seen.wait_for(|answered| *answered == version).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
            tokio::time::sleep(BETWEEN).await;
            resident.push(process::resident(process)? as f64);
        }
        traffic.over.store(true, Ordering::Relaxed);
        anyhow::Ok((calm, traffic.p99(), times, resident))
    };
    let ((), (calm, swapping, times, resident)) = tokio::try_join!(traffic.run(), swaps)?;
    let early = median(resident.iter().skip(FIRST.saturating_sub(READINGS)).take(READINGS));
    let late = median(resident.iter().rev().take(READINGS));
    eprintln!(
        "{bumps} version bumps ({kind:?}) under {} requests: none lost, none failed; p99 {calm:.2} ms before, {swapping:.2} ms meanwhile; {:.1} MiB after {FIRST}, {:.1} MiB at the end",
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

/// The versions to activate, one after the other.
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
    /// In milliseconds, of the requests since it was last asked for.
    fn p99(&self) -> f64 {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable_by(f64::total_cmp);
        latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }

    async fn run(&self) -> anyhow::Result<()> {
        let mut beat = tokio::time::interval(BEAT);
        let mut under_way = FuturesUnordered::new();
        while !self.over.load(Ordering::Relaxed) || !under_way.is_empty() {
            tokio::select! {
                due = beat.tick(), if under_way.len() < self.load.in_flight && !self.over.load(Ordering::Relaxed) => {
                    under_way.push(self.request(due.into_std()));
                }
                Some(answered) = under_way.next() => answered?,
            }
        }
        Ok(())
    }

    async fn request(&self, due: Instant) -> anyhow::Result<()> {
        let (payload, label) = self.load.payload(self.sent.fetch_add(1, Ordering::Relaxed));
        let reply = self.load.client.request(self.worker.subject, payload).await?;
        let latency = due.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(label_of(&reply)? == label, "a wrong answer during a swap");
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
        let version = reply.headers.as_ref().and_then(|headers| headers.get("Inferbus-Version"));
        let version = version.map(ToString::to_string).unwrap_or_default();
        self.version.send_if_modified(|last| {
            let is_news = *last != version;
            *last = version;
            is_news
        });
        Ok(())
    }
}
