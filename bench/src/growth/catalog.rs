//! Over the number of lazily loaded models: start, memory, and processor time of one model.

use anyhow::Context as _;

use super::points::{Points, ROUNDS};
use super::site::{MODEL, round, site};
use crate::load::Load;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;
use crate::subjects::launched_worker::LaunchedWorker;
use crate::workloads::variants;

const MODELS: [usize; 5] = [1, 10, 100, 1000, 10_000];
const REQUESTS: usize = 20_000;
const IN_FLIGHT: usize = 64;

/// A catalog only grows, so its sizes do not alternate.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let (server, client, _catalog) = site().await?;
    let store = async_nats::jetstream::new(client.clone()).get_key_value("models").await?;
    let (load, subject) = (Load::new(client, 0, 0)?, format!("infer.{MODEL}"));
    let cache = tempfile::tempdir()?;
    let folder = cache.path().to_str().context("the folder's name is not UTF-8")?;
    let (mut points, mut present) = (Points::default(), 1);
    for models in MODELS {
        variants::copy(&store, MODEL, present..models).await?;
        present = models;
        for _ in 0..ROUNDS {
            let worker = LaunchedWorker::start(server.url(), &["--load-policy", "lazy", "--cache", folder]).await?;
            let resident = worker.resident().await? as f64 / 1e6;
            round(&load, worker.process()?, &subject, IN_FLIGHT, IN_FLIGHT).await?;
            let round = round(&load, worker.process()?, &subject, REQUESTS, IN_FLIGHT).await?;
            let ready = worker.ready.as_secs_f64() * 1e3;
            eprintln!("{models} models: ready after {ready:.0} ms, {resident:.1} MB, {round}");
            points.add(models as f64, &[ready, resident, round.cpu_micros()]);
            worker.stop().await?;
        }
    }
    let curves = [
        ("models.ready", Kind::Cost, "ms from start to ready"),
        ("models.memory", Kind::Cost, "MB resident before a message"),
        ("models.cpu", Kind::Cost, "µs CPU per message of one"),
    ];
    points.curves(figures, "models in the catalog", &curves);
    server.stop().await;
    Ok(())
}
