//! The time from the start of a worker's process until it is ready, by number of models, and its memory then.
//!
//! Guarantees: all files have different digests, so models do not share loads. Warm and cold starts alternate. All
//! models are kept loaded, so a ready worker has loaded all of them. Otherwise it would be ready earlier.

use anyhow::Context as _;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::Catalog;
use tempfile::TempDir;

use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::subjects::launched_worker::LaunchedWorker;
use crate::workloads::variants;

/// The numbers of models, warm starts and cold starts.
pub type Step = (usize, usize, usize);
/// A cold start with 500 models takes minutes.
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
        // Fills the cache.
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
    let worker = LaunchedWorker::start(server.url(), &["--cache", "off"]).await?;
    let idle = worker.resident().await? as f64;
    worker.stop().await?;
    Ok(idle)
}

struct Bench<'a> {
    server: &'a DevServer,
    /// All models.
    pinned: String,
    cache: TempDir,
}

impl Bench<'_> {
    async fn start(&self, cache: &std::path::Path) -> anyhow::Result<LaunchedWorker> {
        let cache = cache.to_str().context("the folder's name is not UTF-8")?;
        let arguments = ["--cache", cache, "--keep-loaded", &self.pinned, "--memory-budget", ROOM];
        LaunchedWorker::start(self.server.url(), &arguments).await
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
        add("_cold", "with an empty cache", cold_times);
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
