//! `inferbus worker`: serve until stopped.

use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus::telemetry::Telemetry;

use super::{compile_plugin, stop};

pub async fn run(config: WorkerConfig) -> anyhow::Result<()> {
    let compiler = compile_plugin::compiler()?;
    let telemetry = Telemetry::start(&config.log)?;
    let stop = stop::on_signal()?;
    let ended = app::run(config, compiler, stop).await;
    // Sending the last spans blocks.
    let _ = tokio::task::spawn_blocking(|| telemetry.finish()).await;
    ended
}
