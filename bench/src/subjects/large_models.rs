//! Models of 100 MB on a worker: the first request to a cold model, and the memory of several models.
//!
//! Guarantees: each first request is followed by bare `ort` with the same file, in a new process. A process with
//! earlier sessions would reuse their memory. Every answer is compared with bare `ort`.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use async_nats::{Client, Request};
use bytes::Bytes;
use inferbus_catalog::Catalog;
use inferbus_engine::Runtime;
use tempfile::{NamedTempFile, TempDir};
use tokio::process::Command;
use tokio::time::sleep;

use crate::floors::bare_ort;
use crate::load::result_of;
use crate::machine::process::settled_resident;
use crate::opponents::contestant::{Contestant, inferbus, status, worker_arguments};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::workloads::models::{self, LARGE, LARGE_SEED, LARGE_WIDTH};

const NAMES: [&str; 2] = ["heavy-one", "heavy-two"];
/// Memory for one of the models by a worker's estimate, and for both.
const ROOM_FOR_ONE: &str = "350MiB";
const ROOM: &str = "2GiB";
const COLD_ROUNDS: usize = 7;
const TRIAL_ROUNDS: usize = 3;
const MEMORY_ROUNDS: usize = 2;
const RETRY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(60);

struct LargeModel {
    name: &'static str,
    model: NamedTempFile,
    payload: Bytes,
    expected: Vec<f32>,
}

struct Bench<'a> {
    client: &'a Client,
    server: &'a str,
    /// The cache of all workers.
    cache: TempDir,
    large: [LargeModel; 2],
}

pub async fn measure(client: &Client, server: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = bare_ort::runtime()?;
    let large = [LargeModel::new(&runtime, NAMES[0], 1)?, LargeModel::new(&runtime, NAMES[1], 2)?];
    let catalog = Catalog::open(client.clone()).await?;
    for large in &large {
        models::push(&catalog, large.name, &std::fs::read(&large.model)?, "").await?;
    }
    let bench = Bench { client, server, cache: tempfile::tempdir()?, large };
    bench.fill_cache().await?;
    bench.cold(figures).await?;
    bench.with_trial(figures).await?;
    bench.memory(figures).await
}

impl LargeModel {
    fn new(runtime: &Runtime, name: &'static str, seed: u64) -> anyhow::Result<Self> {
        let model = models::mlp(&LARGE, seed);
        let row: Vec<f32> = models::numbers(LARGE_SEED).take(LARGE_WIDTH).collect();
        let expected = bare_ort::run_row(&mut bare_ort::session(runtime, &model)?, &row)?;
        let file = NamedTempFile::new()?;
        std::fs::write(&file, model)?;
        Ok(Self { name, payload: models::payload(&row)?, model: file, expected })
    }

    /// Milliseconds of bare `ort` from the file to the first result.
    async fn bare(&self) -> anyhow::Result<f64> {
        let mut command = Command::new(std::env::current_exe()?);
        let ran = command.arg("bare-first").arg(self.model.path()).stderr(Stdio::inherit()).output().await?;
        ensure!(ran.status.success(), "bare ONNX Runtime did not run the model");
        Ok(String::from_utf8(ran.stdout)?.trim().parse()?)
    }
}

impl Bench<'_> {
    async fn worker(&self, more: &[&str]) -> anyhow::Result<Contestant> {
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(self.server)).args(["--load-policy", "lazy"]).args(more);
        command.arg("--cache").arg(self.cache.path());
        Contestant::spawn_worker("heavy", "", &mut command).await
    }

    /// Returns milliseconds until the result.
    async fn ask(&self, large: &LargeModel) -> anyhow::Result<f64> {
        let request = Request::new().payload(large.payload.clone()).timeout(Some(PATIENCE));
        let started = Instant::now();
        let reply = self.client.send_request(format!("infer.{}", large.name), request).await?;
        let took = started.elapsed();
        models::check(result_of(&reply)?, &large.expected, large.name)?;
        Ok(took.as_secs_f64() * 1e3)
    }

    /// A worker caches fetched artifacts after it has started to serve.
    async fn fill_cache(&self) -> anyhow::Result<()> {
        let worker = self.worker(&["--memory-budget", ROOM]).await?;
        for large in &self.large {
            self.ask(large).await?;
        }
        let folder = self.cache.path().join("artifacts");
        let started = Instant::now();
        while whole_files(&folder)? < self.large.len() {
            ensure!(started.elapsed() < PATIENCE, "the worker did not cache the models in time");
            sleep(RETRY).await;
        }
        worker.stop().await
    }

    /// Both models have passed their trial. Each load evicts the other model.
    async fn cold(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let worker = self.worker(&["--memory-budget", ROOM_FOR_ONE]).await?;
        for large in &self.large {
            self.ask(large).await?;
        }
        let (mut ratios, mut times) = (Vec::new(), Vec::new());
        for (_, large) in (0..COLD_ROUNDS).zip(self.large.iter().cycle()) {
            ensure!(self.loaded().await? == 1, "one model did not evict the other, so neither is cold");
            let ours = self.ask(large).await?;
            ratios.push(ours / large.bare().await?);
            times.push(ours);
        }
        figures.add(Figure::of("engine.cold_load_vs_ort", "× session and run on bare ort, 100 MB", ratios));
        figures.add(Figure::of("engine.cold_load_ms", "ms from request to result, 100 MB", times));
        worker.stop().await
    }

    /// The number of loaded models of the only worker.
    async fn loaded(&self) -> anyhow::Result<u64> {
        let status = status(self.server).await?;
        status["counts"]["loaded"].as_u64().context("a status without a count of loaded models")
    }

    /// On a restarted worker, with a recorded trial or with a new one.
    async fn with_trial(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let (mut noted, mut tried) = (Vec::new(), Vec::new());
        for (_, large) in (0..TRIAL_ROUNDS).zip(self.large.iter().cycle()) {
            for (ratios, is_noted) in [(&mut tried, false), (&mut noted, true)] {
                if !is_noted {
                    std::fs::remove_dir_all(self.cache.path().join("trials"))?;
                }
                let worker = self.worker(&["--memory-budget", ROOM]).await?;
                let ours = self.ask(large).await?;
                ratios.push(ours / large.bare().await?);
                worker.stop().await?;
            }
        }
        let unit = "× session and run on bare ort, 100 MB";
        figures.add(Figure::of("engine.cold_load_restarted_vs_ort", unit, noted));
        figures.add(Figure::of("engine.cold_load_with_trial_vs_ort", unit, tried));
        Ok(())
    }

    async fn memory(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let (mut ones, mut twos, mut fours) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..MEMORY_ROUNDS {
            let one_lane = self.grown("1", &self.large).await?;
            let four_lanes = self.grown("4", &self.large[..1]).await?;
            let (&[one, both], &[on_four]) = (&one_lane[..], &four_lanes[..]) else { bail!("a reading is missing") };
            ones.push(one / 1e6);
            twos.push(both / one);
            fours.push(on_four / one);
        }
        figures.add(Figure::of("engine.model_memory_mb", "MB more resident than idle, 100 MB on one lane", ones));
        let unit = "× engine.model_memory_mb, both versions loaded";
        figures.add(Figure::of("engine.two_versions_memory", unit, twos));
        figures.add(Figure::of("engine.four_lanes_memory", "× engine.model_memory_mb, on four lanes", fours));
        Ok(())
    }

    /// The growth of an idle worker in bytes, after one request to each model.
    async fn grown(&self, lanes: &str, models: &[LargeModel]) -> anyhow::Result<Vec<f64>> {
        let worker = self.worker(&["--memory-budget", ROOM, "--lanes", lanes]).await?;
        let idle = settled_resident(worker.process()?, PATIENCE).await?;
        let mut grown = Vec::new();
        for large in models {
            self.ask(large).await?;
            grown.push(settled_resident(worker.process()?, PATIENCE).await?.saturating_sub(idle) as f64);
        }
        worker.stop().await?;
        Ok(grown)
    }
}

fn whole_files(folder: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for file in std::fs::read_dir(folder)? {
        count += usize::from(file?.path().extension().is_none());
    }
    Ok(count)
}
