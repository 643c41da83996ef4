//! `inferbus worker`: serves all active models until stopped.

use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus::observe::telemetry::Telemetry;

use crate::cli::{child_process, stop};

pub async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    let children = child_process::children()?;
    let telemetry = Telemetry::start(&config.log)?;
    let stop = stop::on_signal()?;
    let ended = app::run(config, children, stop).await;
    // Exporting the last spans blocks.
    let _ = tokio::task::spawn_blocking(|| telemetry.finish()).await;
    ended
}
