//! A worker as `inferbus worker` is one, with stages of the benchmark's choice.

use inferbus::app::{self, Children};
use inferbus::config::WorkerConfig;
use inferbus::models::bundle::Loader;
use inferbus::observe::telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

/// Serves until the process is killed. `change` says what the stages run on.
pub async fn run(config: WorkerConfig, change: impl FnOnce(&mut Loader)) -> anyhow::Result<()> {
    let _telemetry = Telemetry::start(&config.log)?;
    let mut loader = app::loader(&config.compute, Children::default())?;
    change(&mut loader);
    app::run_with(config, loader, CancellationToken::new()).await
}
