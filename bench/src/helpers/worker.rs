//! A worker like `inferbus worker`, with stages chosen by the benchmark.

use inferbus::app::{self, Children};
use inferbus::config::WorkerConfig;
use inferbus::models::loader::Loader;
use inferbus::observe::telemetry::Telemetry;
use inferbus::stream::context::Confirmations;
use tokio_util::sync::CancellationToken;

/// Runs until the process is killed. `change` adapts the loader and the confirmations.
pub async fn run(config: WorkerConfig, change: impl FnOnce(&mut Loader, &mut Confirmations)) -> anyhow::Result<()> {
    let _telemetry = Telemetry::start(&config.log)?;
    let mut loader = app::loader(&config.compute, Children::default())?;
    let mut confirmations = Confirmations::default();
    change(&mut loader, &mut confirmations);
    app::run_with(config, loader, confirmations, CancellationToken::new()).await
}
