//! The effect of a compile bomb on a neighbour: its p99 with and without a rejected module.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_nats::jetstream::{self, kv};
use serde_json::{Value, json};

use crate::load::{Load, Round};
use crate::opponents::contestant::Contestant;
use crate::paper::figure::Figure;
use inferbus_testkit::compile_bombs;

/// The minimum duration of a round.
const ROUND: Duration = Duration::from_secs(3);

/// Alternates quiet rounds and rounds with a bomb. Each bomb has a new version; the previous one is rejected by then.
pub async fn measure(load: &Load, worker: &Contestant, rounds: usize) -> anyhow::Result<Figure> {
    let jetstream = jetstream::new(load.client.clone());
    let models = jetstream.get_key_value("models").await.context("the bucket `models`")?;
    let entry = entry(&jetstream, &models).await?;
    let mut ratios = Vec::new();
    for number in 0..rounds {
        let quiet = p99(load, worker).await?;
        let version = format!("0.0.{number}");
        models.put(format!("bomb.{version}"), entry.to_string().into()).await?;
        models.put("bomb", version.into()).await?;
        ratios.push(p99(load, worker).await? / quiet);
    }
    models.delete("bomb").await?;
    Ok(Figure::of("bomb.p99_ratio", "× p99 with nothing to compile", ratios))
}

/// The digit model with a bomb as its pre plugin.
async fn entry(jetstream: &jetstream::Context, models: &kv::Store) -> anyhow::Result<Value> {
    let wasm = compile_bombs::module([compile_bombs::joins(4000, 40_000)]);
    let digest = inferbus_catalog::Digest::of(&wasm).to_string();
    jetstream.get_object_store("artifacts").await?.put(digest.as_str(), &mut &wasm[..]).await?;
    let digits = models.get("digits.1.0.0").await?.context("the entry of the digit model")?;
    let mut entry: Value = serde_json::from_slice(&digits)?;
    entry["pre"]["digest"] = json!(digest);
    entry["pre"]["size"] = json!(wasm.len());
    Ok(entry)
}

/// The median p99 of rounds within [`ROUND`].
async fn p99(load: &Load, worker: &Contestant) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut tails = Vec::new();
    while started.elapsed() < ROUND {
        tails.push(load.round(worker).await.map(|round: Round| round.latency(0.99))?);
    }
    tails.sort_by(f64::total_cmp);
    tails.get(tails.len() / 2).copied().context("a round")
}
