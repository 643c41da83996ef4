//! `inferbus dev`: a private nats-server with JetStream and a worker, for trying things out.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use inferbus::app;
use inferbus::config::WorkerConfig;
use inferbus::dev_server::{DevServer, Settings};
use inferbus::nats::connect::Connection;
use inferbus::observe::telemetry::Telemetry;
use inferbus_catalog::{Bundle, Catalog, PushOptions};
use inferbus_sandbox::Ceilings;

use super::print::say;
use super::{load_model, local, push, stop};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  inferbus dev plugins/digits/bundle-1.0.0\n  inferbus dev --store ./state --port 4222\n\nThe server is `nats-server` from INFERBUS_NATS_SERVER or the PATH."
)]
pub struct Arguments {
    /// Bundles to push and activate at start
    #[arg(value_name = "FOLDER")]
    bundles: Vec<PathBuf>,
    /// The server's port; 0 takes a free one
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Keep the catalog in this folder [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    #[command(flatten)]
    worker: WorkerConfig,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let children = load_model::children()?;
    let telemetry = Telemetry::start(&arguments.worker.log)?;
    let stop = stop::on_signal()?;
    let server = DevServer::start(Settings {
        port: arguments.port,
        store: arguments.store.as_deref(),
        shielded: true,
        ..Settings::default()
    })
    .await?;
    let mut config = arguments.worker;
    // What the user has set for other servers is not for this one.
    let timeout = config.connection.timeout;
    config.connection =
        Connection { server: Some(server.url().to_owned()), no_context: true, timeout, ..Connection::default() };
    say!("nats-server is at {}: export NATS_URL={}", server.url(), server.url());
    let catalog = Catalog::create(config.connection.command().await?).await?;
    let ceilings = config.compute.ceilings.ceilings();
    for folder in &arguments.bundles {
        bring(&catalog, folder, &ceilings).await.with_context(|| format!("bundle {}", folder.display()))?;
    }
    let ended = app::run(config, children, stop).await;
    let _ = tokio::task::spawn_blocking(|| telemetry.finish()).await;
    server.stop().await;
    ended
}

async fn bring(catalog: &Catalog, folder: &Path, ceilings: &Ceilings) -> anyhow::Result<()> {
    let bundle = Bundle::read(folder)?;
    local::compile(&bundle, ceilings)?;
    push::push(catalog, &bundle, PushOptions { force: true }).await?;
    push::activate(catalog, &bundle).await
}
