//! The measured site: a restartable server, its catalog, and the loader and cache of all planes.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_nats::Client;
use async_nats::jetstream::kv::Store;
use clap::Parser;
use inferbus::app::{self, Children};
use inferbus::config::Compute;
use inferbus::dev_server::{DevServer, Settings};
use inferbus::models::artifact_cache::ArtifactCache;
use inferbus::models::loader::Loader;
use inferbus_catalog::{ByteSize, Catalog, Route, RouteName};
use tempfile::TempDir;

use super::monitor::{self, Reading};
use crate::machine::process;
use crate::workloads::variants;

/// The model of every plane, and its two versions.
pub const MODEL: &str = "m00000";
pub const VERSIONS: [&str; 2] = ["1.0.0", "1.1.0"];
/// Keys of one model: its pointer, and the entry of its version.
pub const KEYS_OF_A_MODEL: usize = 2;
/// The size of the artifact cache.
const CACHE: u64 = 1 << 30;
/// The request timeout of the measurement's client.
const ANSWER: Duration = Duration::from_secs(30);

pub struct Site {
    server: Option<DevServer>,
    port: u16,
    folder: TempDir,
    pub client: Client,
    pub catalog: Catalog,
    pub models: Store,
    stored: usize,
    pub loader: Arc<Loader>,
    pub cache: Arc<ArtifactCache>,
}

impl Site {
    /// A server with one model in two versions. The first one is active.
    pub async fn open() -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let server = start(&folder, 0).await?;
        let port =
            server.url().rsplit(':').next().and_then(|port| port.parse().ok()).context("a URL without a port")?;
        let options = async_nats::ConnectOptions::new().request_timeout(Some(ANSWER));
        let client = options.connect(server.url()).await?;
        let catalog = Catalog::create(client.clone()).await?;
        variants::push_many(&catalog, 0..1).await?;
        variants::push(&catalog, MODEL, VERSIONS[1], VERSIONS[1], false).await?;
        let models = async_nats::jetstream::new(client.clone()).get_key_value("models").await?;
        let loader = Arc::new(loader(&folder)?);
        let cache = Arc::new(ArtifactCache::open(&folder.path().join("artifacts"), ByteSize::new(CACHE))?);
        Ok(Self { server: Some(server), port, folder, client, catalog, models, stored: 1, loader, cache })
    }

    fn server(&self) -> anyhow::Result<&DevServer> {
        self.server.as_ref().context("the server does not run")
    }

    pub fn url(&self) -> anyhow::Result<&str> {
        Ok(self.server()?.url())
    }

    fn monitor(&self) -> anyhow::Result<&str> {
        self.server()?.monitor().context("the server's monitoring address")
    }

    pub async fn reading(&self) -> anyhow::Result<Reading> {
        Reading::take(self.monitor()?, self.server()?.process().context("the server has ended")?).await
    }

    pub async fn taken(&self) -> anyhow::Result<f64> {
        monitor::taken(self.monitor()?).await
    }

    /// Resident bytes of the server.
    pub fn server_memory(&self) -> anyhow::Result<f64> {
        Ok(process::resident(self.server()?.process().context("the server has ended")?)? as f64)
    }

    /// Active models in the catalog.
    pub fn active(&self) -> usize {
        self.stored
    }

    /// Adds models up to this number of keys.
    pub async fn grow(&mut self, keys: usize) -> anyhow::Result<()> {
        let models = keys / KEYS_OF_A_MODEL;
        if models > self.stored {
            variants::copy(&self.models, MODEL, self.stored..models).await?;
            self.stored = models;
        }
        Ok(())
    }

    /// Puts routes to the same model.
    pub async fn routes(&self, numbers: Range<usize>) -> anyhow::Result<()> {
        for number in numbers {
            self.put_route(&format!("r{number:04}"), &format!("sensors.{number}.*")).await?;
        }
        Ok(())
    }

    pub async fn put_route(&self, name: &str, subject: &str) -> anyhow::Result<(RouteName, Route)> {
        let text = format!(r#"{{"mode":"request","model":"{MODEL}","subject":"{subject}"}}"#);
        let route = Route::parse(text.as_bytes()).map_err(|problems| anyhow::anyhow!("a route: {problems}"))?;
        let name: RouteName = name.parse()?;
        self.catalog.put_route(&name, &route).await?;
        Ok((name, route))
    }

    /// Like `kill -9`.
    pub async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Restarts the server with its port and its stored data.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.server = Some(start(&self.folder, self.port).await?);
        Ok(())
    }

    pub async fn close(mut self) {
        self.kill().await;
    }
}

async fn start(folder: &TempDir, port: u16) -> anyhow::Result<DevServer> {
    let (store, config): (PathBuf, PathBuf) = (folder.path().join("store"), folder.path().join("server.conf"));
    std::fs::write(&config, "http: \"127.0.0.1:-1\"\n")?;
    DevServer::start(Settings { port, store: Some(&store), config: Some(&config), ..Settings::default() }).await
}

/// A worker's loader with one lane and an empty cache.
fn loader(folder: &TempDir) -> anyhow::Result<Loader> {
    #[derive(Parser)]
    struct Arguments {
        #[command(flatten)]
        compute: Compute,
    }
    let cache = folder.path().join("plugins");
    let cache = cache.to_str().context("the folder's name is not UTF-8")?;
    let arguments = Arguments::try_parse_from(["scale", "--lanes", "1", "--cache", cache])?;
    app::loader(&arguments.compute, Children::default())
}
