//! A worker like `inferbus worker`, with stages chosen by the benchmark.

use inferbus::app::{self, Children};
use inferbus::config::WorkerConfig;
use inferbus::models::loader::Loader;
use inferbus::observe::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

/// Runs until the process is killed. `change` adapts the loader.
pub async fn run(config: WorkerConfig, change: impl FnOnce(&mut Loader)) -> anyhow::Result<()> {
    let _telemetry = Telemetry::start(&config.log)?;
    let mut loader = app::loader(&config.compute, Children::default())?;
    change(&mut loader);
    app::run_with(config, loader, CancellationToken::new()).await
}
