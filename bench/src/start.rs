//! How long a worker takes from the start of its process until it is ready, with few models and with many, and what memory it
//! takes then.
//!
//! Promises: every file of every model has a digest of its own, so nothing is loaded once for two of them. Warm and cold starts
//! take turns. Ready means that every model is loaded: they are all pinned, since a worker is ready before it has loaded all of
//! many models otherwise.

use anyhow::Context as _;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::Catalog;
use tempfile::TempDir;

use crate::figures::{Figure, Figures};
use crate::launch::Launched;
use crate::variants;

/// How many models, how many warm starts and how many cold ones.
pub type Step = (usize, usize, usize);
/// With 500, a cold start alone takes minutes.
pub const SHORT: &[Step] = &[(1, 5, 3), (50, 3, 1)];
pub const LONG: &[Step] = &[(1, 11, 5), (50, 7, 3), (500, 3, 1)];
const ROOM: &str = "8GiB";

pub async fn measure(steps: &[Step], figures: &mut Figures) -> anyhow::Result<()> {
    let server = DevServer::start(Settings::default()).await?;
    let catalog = Catalog::create(async_nats::connect(server.url()).await?).await?;
    let idle = idle(&server).await?;
    figures.add(Figure::of("start.idle_mb", "MB resident without a model", [idle / 1e6]));
    let mut names = Vec::new();
    for (at, &(models, warm, cold)) in steps.iter().enumerate() {
        names.extend(variants::push_many(&catalog, names.len()..models).await?);
        let bench = Bench { server: &server, pinned: names.join(","), cache: TempDir::new()? };
        // It fills the cache.
        let filler = bench.start(bench.cache.path()).await?;
        if at + 1 == steps.len() {
            let each = (filler.resident().await? as f64 - idle) / models as f64;
            figures.add(Figure::of("start.model_kb", "KB more resident per small model with plugins", [each / 1e3]));
        }
        filler.stop().await?;
        bench.rounds(models, warm, cold, figures).await?;
    }
    server.stop().await;
    Ok(())
}

async fn idle(server: &DevServer) -> anyhow::Result<f64> {
    let worker = Launched::start(server.url(), &["--cache", "off"]).await?;
    let idle = worker.resident().await? as f64;
    worker.stop().await?;
    Ok(idle)
}

struct Bench<'a> {
    server: &'a DevServer,
    /// All of the models there are.
    pinned: String,
    cache: TempDir,
}

impl Bench<'_> {
    async fn start(&self, cache: &std::path::Path) -> anyhow::Result<Launched> {
        let cache = cache.to_str().context("a folder's name that is not UTF-8")?;
        let arguments = ["--cache", cache, "--pin", &self.pinned, "--model-memory", ROOM];
        Launched::start(self.server.url(), &arguments).await
    }

    async fn rounds(&self, models: usize, warm: usize, cold: usize, figures: &mut Figures) -> anyhow::Result<()> {
        let (mut warm_times, mut cold_times) = (Vec::new(), Vec::new());
        for round in 0..warm.max(cold) {
            if round < warm {
                warm_times.push(self.timed(self.cache.path()).await?);
            }
            if round < cold {
                cold_times.push(self.timed(TempDir::new()?.path()).await?);
            }
        }
        let mut add = |suffix, what: &str, times| {
            let unit = format!("ms from process start to ready, {models} models, {what}");
            figures.add(Figure::of(&format!("start.ready_{models}{suffix}_ms"), &unit, times));
        };
        add("", "all in the cache", warm_times);
        add("_cold", "nothing in the cache", cold_times);
        Ok(())
    }

    async fn timed(&self, cache: &std::path::Path) -> anyhow::Result<f64> {
        let worker = self.start(cache).await?;
        let ready = worker.ready.as_secs_f64() * 1e3;
        eprintln!("ready after {ready:.0} ms");
        worker.stop().await?;
        Ok(ready)
    }
}
