//! `inferbus dev`: a private nats-server with JetStream and a worker, for experiments.

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

use crate::cli::{child_process, local_bundle, print, stop, upload};

const EXAMPLES: &str = "\
Examples:
  inferbus dev plugins/examples/digits/bundle-1.0.0
  inferbus dev --store ./state --port 4222

The server is the `nats-server` from INFERBUS_NATS_SERVER or the PATH.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folders of bundles to push and activate at start
    #[arg(value_name = "FOLDER")]
    bundles: Vec<PathBuf>,
    /// Port of the server; 0 for any free port
    #[arg(long, default_value_t = 4222)]
    port: u16,
    /// Folder of the JetStream store [default: a temporary one]
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    #[command(flatten)]
    worker: WorkerConfig,
}

pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let children = child_process::children()?;
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
    // Ignore the user's settings for other servers.
    let timeout = config.connection.timeout;
    config.connection =
        Connection { server: Some(server.url().to_owned()), no_context: true, timeout, ..Connection::default() };
    print::line!("nats-server listens on {}: export NATS_URL={}", server.url(), server.url());
    let catalog = Catalog::create(config.connection.command().await?).await?;
    let ceilings = config.compute.ceilings.ceilings();
    for folder in &arguments.bundles {
        push(&catalog, folder, &ceilings).await.with_context(|| format!("bundle {}", folder.display()))?;
    }
    let ended = app::run(config, children, stop).await;
    let _ = tokio::task::spawn_blocking(|| telemetry.finish()).await;
    server.stop().await;
    ended
}

async fn push(catalog: &Catalog, folder: &Path, ceilings: &Ceilings) -> anyhow::Result<()> {
    let bundle = Bundle::read(folder)?;
    local_bundle::compile(&bundle, ceilings)?;
    upload::store(catalog, &bundle, PushOptions { force: true }).await?;
    upload::activate(catalog, &bundle).await
}
