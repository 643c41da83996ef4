//! `inferbus worker`: serve until stopped.

use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus::observe::telemetry::Telemetry;

use super::{load_model, stop};

pub async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    let children = load_model::children()?;
    let telemetry = Telemetry::start(&config.log)?;
    let stop = stop::on_signal()?;
    let ended = app::run(config, children, stop).await;
    // Sending the last spans blocks.
    let _ = tokio::task::spawn_blocking(|| telemetry.finish()).await;
    ended
}
