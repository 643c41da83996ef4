//! The duration of swaps from the put to the first result: small models and models of 100 MB, cached and uncached; and
//! their effect on a neighbour's requests.
//!
//! Guarantees: requests to the swapped model and to its neighbour continue in calm and in swaps. A neighbour's latency
//! starts at the due time. Every answer is checked. Swaps to new and to known versions alternate.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::Client;
use async_nats::jetstream::kv::Store;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::{Bundle, Catalog, PushOptions};
use tempfile::TempDir;
use tokio::time::{MissedTickBehavior, sleep};

use super::latencies::{Latencies, version_of};
use crate::floors::bare_ort;
use crate::load::{Load, label_of, result_of};
use crate::opponents::contestant::{Contestant, inferbus, worker_arguments};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::workloads::models;
use crate::workloads::variants;

/// Rounds. Each has one swap of a kind for the large model and [`SMALL_SWAPS`] for the small one.
pub const SHORT: usize = 2;
pub const LONG: usize = 5;
const SMALL_SWAPS: usize = 5;
/// The interval of the neighbour's requests, and the pause after each answer of the swapped model.
const INTERVAL: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_millis(1);
const MAX_IN_FLIGHT: usize = 4096;
/// The calm time before the swaps of a round.
const CALM: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
const RETRY: Duration = Duration::from_millis(50);
const NEIGHBOUR: &str = "neighbour";
const SMALL: &str = "small";
const LARGE: &str = "large";
const ROOM: &str = "4GiB";

/// A version of the large model, and its answer.
struct Large {
    version: String,
    expected: Vec<f32>,
}

struct Bench {
    load: Load,
    pointers: Store,
    large: Vec<Large>,
    row: Bytes,
    latencies: Latencies,
    over: AtomicBool,
}

/// Milliseconds of swaps by kind, and the neighbour's p99 as a ratio.
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
    command.arg("worker").args(worker_arguments(server.url())).args(["--memory-budget", ROOM]);
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
    /// Puts all versions into the catalog: the first of each model, and one for each uncached swap.
    async fn new(client: &Client, rounds: usize) -> anyhow::Result<Self> {
        let catalog = Catalog::create(client.clone()).await?;
        variants::push(&catalog, NEIGHBOUR, "1.0.0", NEIGHBOUR, true).await?;
        for number in 0..=rounds * SMALL_SWAPS {
            variants::push(&catalog, SMALL, &version(number), &format!("small {number}"), number == 0).await?;
        }
        let runtime = bare_ort::runtime()?;
        let row: Vec<f32> = models::numbers(1).take(models::LARGE_WIDTH).collect();
        let mut large = Vec::new();
        for number in 0..=rounds {
            let network = models::mlp(&models::LARGE, number as u64 + 10);
            let expected = bare_ort::run_row(&mut bare_ort::session(&runtime, &network)?, &row)?;
            push_network(&catalog, &version(number), &network).await?;
            large.push(Large { version: version(number), expected });
        }
        let pointers = async_nats::jetstream::new(client.clone()).get_key_value("models").await?;
        pointers.put(LARGE, version(0).into()).await?;
        let (latencies, over) = (Latencies::default(), AtomicBool::new(false));
        let load = Load::new(client.clone(), MAX_IN_FLIGHT, 0)?;
        Ok(Self { load, pointers, large, row: models::payload(&row)?, latencies, over })
    }

    async fn wait_until_all_serve(&self) -> anyhow::Result<()> {
        for (model, payload) in
            [(NEIGHBOUR, self.load.payload(0).0), (SMALL, self.load.payload(0).0), (LARGE, self.row.clone())]
        {
            let started = Instant::now();
            while result_of(&self.load.client.request(format!("infer.{model}"), payload.clone()).await?).is_err() {
                ensure!(started.elapsed() < PATIENCE, "{model} is not ready in time");
                sleep(RETRY).await;
            }
        }
        Ok(())
    }

    async fn rounds(&self, rounds: usize) -> anyhow::Result<Times> {
        let mut times = Times::default();
        for round in 1..=rounds {
            self.probe(LARGE, &version(round - 1), CALM).await?;
            let calm = self.latencies.take_p99();
            let first = (round - 1) * SMALL_SWAPS;
            for number in first + 1..=first + SMALL_SWAPS {
                times.small_uncached.push(self.swap(SMALL, &version(number)).await?);
                times.small_cached.push(self.swap(SMALL, &version(number - 1)).await?);
            }
            times.large_uncached.push(self.swap(LARGE, &version(round)).await?);
            times.large_cached.push(self.swap(LARGE, &version(round - 1)).await?);
            // The next round starts with the newest.
            times.large_cached.push(self.swap(LARGE, &version(round)).await?);
            let swapping = self.latencies.take_p99();
            eprintln!("round {round}: the neighbour's p99 {calm:.2} ms before, {swapping:.2} ms during the swaps");
            times.neighbour.push(swapping / calm);
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(times)
    }

    /// Returns milliseconds from the put to the first result of the version.
    async fn swap(&self, model: &str, version: &str) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.pointers.put(model, version.to_owned().into()).await?;
        while self.ask(model).await? != version {
            ensure!(started.elapsed() < PATIENCE, "{model} {version} is not served in time");
            sleep(PAUSE).await;
        }
        let took = started.elapsed().as_secs_f64() * 1e3;
        eprintln!("{model} {version}: {took:.1} ms");
        // Before the next swap, the worker drops the old version and caches the fetched one.
        self.probe(model, version, RETRY * 10).await?;
        Ok(took)
    }

    /// Requests the model for this time, and checks the version.
    async fn probe(&self, model: &str, version: &str, time: Duration) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < time {
            let answered = self.ask(model).await?;
            ensure!(answered == version, "{model} {answered} answered instead of {version}");
            sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Requests the model, checks the answer, and returns its version.
    async fn ask(&self, model: &str) -> anyhow::Result<String> {
        let (picture, label) = self.load.payload(0);
        let payload = if model == LARGE { self.row.clone() } else { picture };
        let reply = self.load.client.request(format!("infer.{model}"), payload).await?;
        result_of(&reply)?;
        let version = version_of(&reply).context("a result without a version")?;
        if model == LARGE {
            let known = self.large.iter().find(|large| large.version == version).context("an unknown version")?;
            models::check(result_of(&reply)?, &known.expected, model)?;
        } else {
            ensure!(label_of(&reply)? == label, "a wrong answer during a swap");
        }
        Ok(version)
    }

    /// Sends steady requests until the rounds are over.
    async fn neighbour(&self) -> anyhow::Result<()> {
        let mut interval = tokio::time::interval(INTERVAL);
        // Missed ticks are made up for: their requests were due.
        interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let mut in_flight = FuturesUnordered::new();
        let mut number = 0;
        while !self.over.load(Ordering::Relaxed) || !in_flight.is_empty() {
            tokio::select! {
                due = interval.tick(), if in_flight.len() < MAX_IN_FLIGHT && !self.over.load(Ordering::Relaxed) => {
                    in_flight.push(self.request_neighbour(due.into_std(), number));
                    number += 1;
                }
                Some(answered) = in_flight.next() => answered?,
            }
        }
        Ok(())
    }

    async fn request_neighbour(&self, due: Instant, number: usize) -> anyhow::Result<()> {
        let (payload, label) = self.load.payload(number);
        let reply = self.load.client.request(format!("infer.{NEIGHBOUR}"), payload).await?;
        self.latencies.add_since(due);
        ensure!(label_of(&reply)? == label, "the neighbour gave a wrong answer");
        Ok(())
    }
}

fn version(number: usize) -> String {
    format!("1.0.{number}")
}

async fn push_network(catalog: &Catalog, version: &str, network: &[u8]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("model.onnx"), network)?;
    let manifest = format!("model = \"{LARGE}\"\nversion = \"{version}\"\nnetwork = \"model.onnx\"\n");
    std::fs::write(folder.path().join("bundle.toml"), manifest)?;
    catalog.push(&Bundle::read(folder.path())?, PushOptions::default(), &mut |_| {}).await?;
    Ok(())
}
