//! How long a swap takes, from the put to the first result on the new version: small models and ones of 100 MB, with what
//! they need on the local disk and without; and what a neighbour's requests notice of it.
//!
//! Promises: requests to what is swapped and to its neighbour go on through calm and swaps alike; a neighbour's request is timed
//! from when it was due. Every answer is checked. Swaps to versions that the worker has never seen take turns with swaps to
//! ones that it has.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::jetstream::kv::Store;
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::{Bundle, Catalog, PushOptions};
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::bare;
use crate::contestant::{Contestant, inferbus, worker_arguments};
use crate::figures::{Figure, Figures};
use crate::load::{Load, label_of, result_of};
use crate::models;
use crate::variants;

/// Rounds, each with one swap of a kind for the large model and [`SMALL_SWAPS`] for the small one.
pub const SHORT: usize = 2;
pub const LONG: usize = 5;
const SMALL_SWAPS: usize = 5;
/// A beat of the neighbour's requests, and the pause after each answer of what is swapped.
const BEAT: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_millis(1);
const MOST_UNDER_WAY: usize = 4096;
/// How long the neighbour is watched before the swaps of a round.
const CALM: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);
const NEIGHBOUR: &str = "neighbour";
const SMALL: &str = "small";
const LARGE: &str = "large";
/// 24 layers of four megabytes.
const WIDTHS: [usize; 25] = [1024; 25];
const ROOM: &str = "4GiB";

/// A version of the large model with what it answers.
struct Large {
    version: String,
    expected: Vec<f32>,
}

struct Bench {
    load: Load,
    pointers: Store,
    large: Vec<Large>,
    row: Bytes,
    latencies: Mutex<Vec<f64>>,
    over: AtomicBool,
}

/// Milliseconds of swaps, by kind, and the neighbour's p99 as a ratio.
#[derive(Default)]
struct Times {
    small_uncached: Vec<f64>,
    small_cached: Vec<f64>,
    large_uncached: Vec<f64>,
    large_cached: Vec<f64>,
    neighbour: Vec<f64>,
}

pub async fn measure(rounds: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let server = DevServer::start(Settings::default()).await?;
    let client = async_nats::connect(server.url()).await?;
    let bench = Bench::new(&client, rounds).await?;
    let cache = TempDir::new()?;
    let mut command = inferbus()?;
    command.arg("worker").args(worker_arguments(server.url())).args(["--model-memory", ROOM]);
    command.arg("--cache").arg(cache.path());
    let worker = Contestant::spawn_worker("swapping", "", &mut command).await?;
    bench.wait_until_all_serve().await?;
    let ((), times) = tokio::try_join!(bench.neighbour(), bench.rounds(rounds))?;
    let mut add = |name: &str, unit, values| figures.add(Figure::of(&format!("swap.{name}"), unit, values));
    let unit = "ms from put to first result";
    add("small_cached_ms", unit, times.small_cached);
    add("small_uncached_ms", unit, times.small_uncached);
    add("large_cached_ms", "ms from put to first result, 100 MB", times.large_cached);
    add("large_uncached_ms", "ms from put to first result, 100 MB", times.large_uncached);
    add("neighbour_p99_ratio", "× a neighbour's p99 before the swaps", times.neighbour);
    worker.stop().await?;
    server.stop().await;
    Ok(())
}

impl Bench {
    /// Puts all versions into the catalog: one of each to begin with, and those that the rounds swap to for the first time.
    async fn new(client: &Client, rounds: usize) -> anyhow::Result<Self> {
        let catalog = Catalog::create(client.clone()).await?;
        variants::push(&catalog, NEIGHBOUR, "1.0.0", NEIGHBOUR, true).await?;
        for number in 0..=rounds * SMALL_SWAPS {
            variants::push(&catalog, SMALL, &version(number), &format!("small {number}"), number == 0).await?;
        }
        let runtime = bare::runtime()?;
        let row: Vec<f32> = models::numbers(1).take(WIDTHS[0]).collect();
        let mut large = Vec::new();
        for number in 0..=rounds {
            let network = models::mlp(&WIDTHS, number as u64 + 10);
            let expected = bare::run_row(&mut bare::session(&runtime, &network)?, &row)?;
            push_network(&catalog, &version(number), &network).await?;
            large.push(Large { version: version(number), expected });
        }
        let pointers = async_nats::jetstream::new(client.clone()).get_key_value("models").await?;
        pointers.put(LARGE, version(0).into()).await?;
        let (latencies, over) = (Mutex::default(), AtomicBool::new(false));
        let load = Load::new(client.clone(), MOST_UNDER_WAY, 0)?;
        Ok(Self { load, pointers, large, row: models::payload(&row)?, latencies, over })
    }

    async fn wait_until_all_serve(&self) -> anyhow::Result<()> {
        for (model, payload) in
            [(NEIGHBOUR, self.load.payload(0).0), (SMALL, self.load.payload(0).0), (LARGE, self.row.clone())]
        {
            let started = Instant::now();
            while result_of(&self.load.client.request(format!("infer.{model}"), payload.clone()).await?).is_err() {
                ensure!(started.elapsed() < PATIENCE, "{model} does not serve");
                sleep(LOOK).await;
            }
        }
        Ok(())
    }

    async fn rounds(&self, rounds: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for round in 1..=rounds {
            self.probe(LARGE, &version(round - 1), CALM).await?;
            let calm = self.p99();
            let first = (round - 1) * SMALL_SWAPS;
            for number in first + 1..=first + SMALL_SWAPS {
                times.small_uncached.push(self.swap(SMALL, &version(number)).await?);
                times.small_cached.push(self.swap(SMALL, &version(number - 1)).await?);
            }
            times.large_uncached.push(self.swap(LARGE, &version(round)).await?);
            times.large_cached.push(self.swap(LARGE, &version(round - 1)).await?);
            // The next round begins with the newest.
            times.large_cached.push(self.swap(LARGE, &version(round)).await?);
            let swapping = self.p99();
            eprintln!("round {round}: the neighbour's p99 {calm:.2} ms before, {swapping:.2} ms while swapping");
            times.neighbour.push(swapping / calm);
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(times)
    }

    /// Milliseconds from the put to the first result on that version.
    async fn swap(&self, model: &str, version: &str) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.pointers.put(model, version.to_owned().into()).await?;
        while self.ask(model).await? != version {
            ensure!(started.elapsed() < PATIENCE, "{model} {version} does not come into service");
            sleep(PAUSE).await;
        }
        let took = started.elapsed().as_secs_f64() * 1e3;
        eprintln!("{model} {version}: {took:.1} ms");
        // What was swapped out is dropped, and what was fetched is written down, before the next.
        self.probe(model, version, LOOK * 10).await?;
        Ok(took)
    }

    /// Asks for so long, as a swap does.
    async fn probe(&self, model: &str, version: &str, time: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            let answered = self.ask(model).await?;
            ensure!(answered == version, "{model} {answered} answered where {version} serves");
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// The version that answered, rightly.
    async fn ask(&self, model: &str) -> anyhow::Result<String> {
        let (picture, label) = self.load.payload(0);
        let payload = if model == LARGE { self.row.clone() } else { picture };
        let reply = self.load.client.request(format!("infer.{model}"), payload).await?;
        let version = version_of(&reply)?;
        if model == LARGE {
            let known =
                self.large.iter().find(|large| large.version == version).context("a version that nobody put")?;
            models::check(result_of(&reply)?, &known.expected, model)?;
        } else {
            ensure!(label_of(&reply)? == label, "a wrong answer during a swap");
        }
        Ok(version)
    }

    /// Of the neighbour's requests since it was last asked for, in milliseconds.
    fn p99(&self) -> f64 {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable_by(f64::total_cmp);
        latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }

    /// Steady requests until the rounds are over.
    async fn neighbour(&self) -> anyhow::Result<()> {
        let mut beat = interval(BEAT);
        // A beat that was late is caught up with: it was due all the same.
        beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut under_way = FuturesUnordered::new();
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) || !under_way.is_empty() {
            tokio::select! {
                due = beat.tick(), if under_way.len() < MOST_UNDER_WAY && !self.over.load(Ordering::Relaxed) => {
                    under_way.push(self.neighbours(due.into_std(), number));
                    number += 1;
                }
                Some(answered) = under_way.next() => answered?,
            }
        }
        Ok(())
    }

    async fn neighbours(&self, due: Instant, number: usize) -> anyhow::Result<()> {
        let (payload, label) = self.load.payload(number);
        let reply = self.load.client.request(format!("infer.{NEIGHBOUR}"), payload).await?;
        let latency = due.elapsed().as_secs_f64() * 1e3;
        ensure!(label_of(&reply)? == label, "the neighbour gave a wrong answer");
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
        Ok(())
    }
}

fn version(number: usize) -> String {
    format!("1.0.{number}")
}

fn version_of(reply: &Message) -> anyhow::Result<String> {
    result_of(reply)?;
    let version = reply.headers.as_ref().and_then(|headers| headers.get("Inferbus-Version"));
    Ok(version.context("a result without a version")?.to_string())
}

async fn push_network(catalog: &Catalog, version: &str, network: &[u8]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("model.onnx"), network)?;
    let manifest = format!("model = \"{LARGE}\"\nversion = \"{version}\"\nnetwork = \"model.onnx\"\n");
    std::fs::write(folder.path().join("bundle.toml"), manifest)?;
    catalog.push(&Bundle::read(folder.path())?, PushOptions::default(), &mut |_| {}).await?;
    Ok(())
}
