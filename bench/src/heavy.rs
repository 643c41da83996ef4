//! Models of 100 MB on a worker: how long the first request for a cold one takes, and what memory several of them take.
//!
//! Promises: what a first request takes is compared with bare `ort` that makes a session of the same file and runs it once, right
//! after and in a process of its own: whoever made one before has memory at hand that the system need not give again. Every
//! answer is compared with that of bare `ort`.

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

use crate::bare;
use crate::contestant::{Contestant, inferbus, status, worker_arguments};
use crate::figures::{Figure, Figures};
use crate::load::result_of;
use crate::models;
use crate::process;

/// 24 layers of four megabytes.
pub const WIDTH: usize = 1024;
const WIDTHS: [usize; 25] = [WIDTH; 25];
/// The seed of what is asked.
pub const ROW: u64 = 3;
const NAMES: [&str; 2] = ["heavy-one", "heavy-two"];
/// Room for one of the models, as a worker estimates them, and for both.
const ROOM_FOR_ONE: &str = "350MiB";
const ROOM: &str = "2GiB";
const COLD_ROUNDS: usize = 7;
const TRIAL_ROUNDS: usize = 3;
const MEMORY_ROUNDS: usize = 2;
const LOOK: Duration = Duration::from_millis(100);
/// A worker gives back every second what is free.
const LOOKS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(60);
/// Memory has settled when all looks in a row saw the same, but for this much.
const SAME: u64 = 1 << 20;

struct Heavy {
    name: &'static str,
    model: NamedTempFile,
    payload: Bytes,
    expected: Vec<f32>,
}

struct Bench<'a> {
    client: &'a Client,
    server: &'a str,
    /// The workers' own, so that it is known what lies in it.
    cache: TempDir,
    heavy: [Heavy; 2],
}

pub async fn measure(client: &Client, server: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = bare::runtime()?;
    let heavy = [Heavy::new(&runtime, NAMES[0], 1)?, Heavy::new(&runtime, NAMES[1], 2)?];
    let catalog = Catalog::open(client.clone()).await?;
    for heavy in &heavy {
        models::push(&catalog, heavy.name, &std::fs::read(&heavy.model)?, "").await?;
    }
    let bench = Bench { client, server, cache: tempfile::tempdir()?, heavy };
    bench.fill_cache().await?;
    bench.cold(figures).await?;
    bench.with_trial(figures).await?;
    bench.memory(figures).await
}

impl Heavy {
    fn new(runtime: &Runtime, name: &'static str, seed: u64) -> anyhow::Result<Self> {
        let model = models::mlp(&WIDTHS, seed);
        let row: Vec<f32> = models::numbers(ROW).take(WIDTH).collect();
        let expected = bare::run_row(&mut bare::session(runtime, &model)?, &row)?;
        let file = NamedTempFile::new()?;
        std::fs::write(&file, model)?;
        Ok(Self { name, payload: models::payload(&row)?, model: file, expected })
    }

    /// Milliseconds that bare `ort` takes from the file to the first result.
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
        command.arg("worker").args(worker_arguments(self.server)).args(["--load", "lazy"]).args(more);
        command.arg("--cache").arg(self.cache.path());
        Contestant::spawn_worker("heavy", "", &mut command).await
    }

    /// Milliseconds until the result.
    async fn ask(&self, heavy: &Heavy) -> anyhow::Result<f64> {
        let request = Request::new().payload(heavy.payload.clone()).timeout(Some(PATIENCE));
        let started = Instant::now();
        let reply = self.client.send_request(format!("infer.{}", heavy.name), request).await?;
        let took = started.elapsed();
        models::check(result_of(&reply)?, &heavy.expected, heavy.name)?;
        Ok(took.as_secs_f64() * 1e3)
    }

    /// A worker writes down what it fetched after it began to serve.
    async fn fill_cache(&self) -> anyhow::Result<()> {
        let worker = self.worker(&["--model-memory", ROOM]).await?;
        for heavy in &self.heavy {
            self.ask(heavy).await?;
        }
        let folder = self.cache.path().join("artifacts");
        let started = Instant::now();
        while whole_files(&folder)? < self.heavy.len() {
            ensure!(started.elapsed() < PATIENCE, "the worker did not cache the models in time");
            sleep(LOOK).await;
        }
        worker.stop().await
    }

    /// The worker has tried both models before, and each makes room for the other.
    async fn cold(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let worker = self.worker(&["--model-memory", ROOM_FOR_ONE]).await?;
        for heavy in &self.heavy {
            self.ask(heavy).await?;
        }
        let (mut ratios, mut times) = (Vec::new(), Vec::new());
        for (_, heavy) in (0..COLD_ROUNDS).zip(self.heavy.iter().cycle()) {
            ensure!(self.loaded().await? == 1, "one model did not make room for the other: nothing is cold");
            let ours = self.ask(heavy).await?;
            ratios.push(ours / heavy.bare().await?);
            times.push(ours);
        }
        figures.add(Figure::of("engine.cold_load_vs_ort", "× session and run on bare ort, 100 MB", ratios));
        figures.add(Figure::of("engine.cold_load_ms", "ms from request to result, 100 MB", times));
        worker.stop().await
    }

    /// How many models the only worker has loaded.
    async fn loaded(&self) -> anyhow::Result<u64> {
        let told = status(self.server).await?;
        told["counts"]["loaded"].as_u64().context("a status without a count of loaded models")
    }

    /// The worker is a new one. Either it finds noted that the model survived its trial, or it tries it first.
    async fn with_trial(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let (mut noted, mut tried) = (Vec::new(), Vec::new());
        for (_, heavy) in (0..TRIAL_ROUNDS).zip(self.heavy.iter().cycle()) {
            for (ratios, is_noted) in [(&mut tried, false), (&mut noted, true)] {
                if !is_noted {
                    std::fs::remove_dir_all(self.cache.path().join("trials"))?;
                }
                let worker = self.worker(&["--model-memory", ROOM]).await?;
                let ours = self.ask(heavy).await?;
                ratios.push(ours / heavy.bare().await?);
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
            let one_lane = self.grown("1", &self.heavy).await?;
            let four_lanes = self.grown("4", &self.heavy[..1]).await?;
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

    /// Bytes by which a worker has grown since it was idle, after it served each of the models.
    async fn grown(&self, lanes: &str, models: &[Heavy]) -> anyhow::Result<Vec<f64>> {
        let worker = self.worker(&["--model-memory", ROOM, "--lanes", lanes]).await?;
        let idle = settled(worker.process()?).await?;
        let mut grown = Vec::new();
        for heavy in models {
            self.ask(heavy).await?;
            grown.push(settled(worker.process()?).await?.saturating_sub(idle) as f64);
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

/// Resident bytes, once they no longer change.
async fn settled(process: u32) -> anyhow::Result<u64> {
    let started = Instant::now();
    let (mut last, mut same) = (process::resident(process)?, 0);
    while same < LOOKS {
        ensure!(started.elapsed() < PATIENCE, "the worker's memory does not settle");
        sleep(LOOK).await;
        let now = process::resident(process)?;
        same = if now.abs_diff(last) < SAME { same + 1 } else { 0 };
        last = now;
    }
    Ok(last)
}
