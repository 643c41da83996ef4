//! One model twice on one worker, with batching and without: the gain of shared runs, and the cost for single requests.
//!
//! Guarantees: both models alternate on equal payloads. Every answer is compared with bare ONNX Runtime on the single
//! payload.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::Client;
use bytes::Bytes;
use inferbus_catalog::Catalog;

use crate::floors::bare_ort;
use crate::load::{Round, result_of};
use crate::opponents::contestant::{Contestant, status};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::workloads::models;

const ROUNDS: usize = 5;
const REQUESTS: usize = 4_000;
const IN_FLIGHT: usize = 64;
/// Many short rounds, because the difference is small.
const IDLE_ROUNDS: usize = 31;
const IDLE_REQUESTS: usize = 100;
/// 7.5 MB of weights. A run reads them once for any number of rows.
const WIDTHS: [usize; 4] = [784, 1024, 1024, 10];
const PAYLOADS: usize = 128;
const ON: &str = "batching-on";
const OFF: &str = "batching-off";

struct Bench {
    client: Client,
    process: u32,
    /// Payloads with their correct answers.
    payloads: Vec<(Bytes, Vec<f32>)>,
}

pub async fn measure(client: &Client, server: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let model = models::mlp(&WIDTHS, 1);
    let catalog = Catalog::open(client.clone()).await?;
    models::push(&catalog, ON, &model, "batch = { max = 64 }").await?;
    models::push(&catalog, OFF, &model, "").await?;
    let worker = Contestant::worker(server).await?;
    let bench = Bench { client: client.clone(), process: worker.process()?, payloads: payloads(&model)? };
    bench.loaded(figures).await?;
    figures.add(Figure::of("batching.messages_per_run", "messages, mean", [messages_per_run(server).await?]));
    bench.idle(figures).await?;
    worker.stop().await
}

/// The worker's count for the model with batching.
async fn messages_per_run(server: &str) -> anyhow::Result<f64> {
    let status = status(server).await?;
    let models = status["models"].as_array().context("a status without models")?;
    let model = models.iter().find(|model| model["model"] == ON).context("a status without the model")?;
    let mean = model["messages_per_run"].as_f64().context("a status without messages per run")?;
    ensure!(mean > 1.0, "the worker ran each message separately, although batching is on");
    Ok(mean)
}

fn payloads(model: &[u8]) -> anyhow::Result<Vec<(Bytes, Vec<f32>)>> {
    let mut session = bare_ort::session(&bare_ort::runtime()?, model)?;
    let mut random = models::numbers(2);
    let mut all: Vec<(Bytes, Vec<f32>)> = Vec::new();
    for _ in 0..PAYLOADS {
        let row: Vec<f32> = random.by_ref().take(WIDTHS[0]).collect();
        let expected = bare_ort::run_row(&mut session, &row)?;
        let is_new = all.iter().all(|(_, other)| !models::is_alike(&expected, other));
        ensure!(is_new, "two payloads have the same result, so a mix-up would not be seen");
        all.push((models::payload(&row)?, expected));
    }
    Ok(all)
}

impl Bench {
    async fn loaded(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let mut ran: [Vec<Round>; 2] = Default::default();
        for number in 0..=ROUNDS {
            for (model, rounds) in [ON, OFF].into_iter().zip(&mut ran) {
                let round = self.round(model, REQUESTS, IN_FLIGHT).await?;
                eprintln!("round {number}: {model:12} {round}");
                // The first round is a warm-up.
                if number > 0 {
                    rounds.push(round);
                }
            }
        }
        let [on, off] = &ran;
        let ratio = |of: fn(&Round) -> f64| on.iter().zip(off).map(move |(on, off)| of(on) / of(off));
        figures.add(Figure::of("batching.throughput_ratio", "× batching.off.rate", ratio(Round::rate)));
        figures.add(Figure::of("batching.cpu_ratio", "× batching.off.cpu_us", ratio(Round::cpu_micros)));
        for (name, rounds) in [("on", on), ("off", off)] {
            let cpu = rounds.iter().map(Round::cpu_micros);
            figures.add(Figure::of(&format!("batching.{name}.rate"), "requests/s", rounds.iter().map(Round::rate)));
            figures.add(Figure::of(&format!("batching.{name}.cpu_us"), "µs per message", cpu));
        }
        Ok(())
    }

    /// One request at a time. The models alternate as the first one.
    async fn idle(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let (mut on, mut off) = (Vec::new(), Vec::new());
        for number in 0..IDLE_ROUNDS {
            let mut both = [(ON, &mut on), (OFF, &mut off)];
            if number % 2 == 1 {
                both.reverse();
            }
            for (model, rounds) in both {
                rounds.push(self.round(model, IDLE_REQUESTS, 1).await?.latency(0.5));
            }
        }
        let ratio = on.iter().zip(&off).map(|(on, off)| on / off);
        figures.add(Figure::of("batching.idle_p50_ratio", "× batching.off.idle_p50_us", ratio));
        figures.add(Figure::of("batching.off.idle_p50_us", "µs", off));
        Ok(())
    }

    async fn round(&self, model: &str, requests: usize, in_flight: usize) -> anyhow::Result<Round> {
        let subject = format!("infer.{model}");
        Round::run(self.process, requests, in_flight, |number| self.request(&subject, number)).await
    }

    async fn request(&self, subject: &str, number: usize) -> anyhow::Result<Duration> {
        let (payload, expected) = &self.payloads[number % self.payloads.len()];
        let started = Instant::now();
        let reply = self.client.request(subject.to_owned(), payload.clone()).await?;
        let latency = started.elapsed();
        models::check(result_of(&reply)?, expected, subject)?;
        Ok(latency)
    }
}
