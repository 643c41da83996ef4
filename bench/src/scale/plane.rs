//! One control plane: connection, follower, resolver and registry of a worker, joined as in `worker/src/app.rs`,
//! without lanes and messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::connection::State;
use async_nats::{Client, Event};
use inferbus::config::LoadPolicy;
use inferbus::limits;
use inferbus::models::artifact_cache::ArtifactCache;
use inferbus::models::budget::Budget;
use inferbus::models::loader::Loader;
use inferbus::models::registry::Registry;
use inferbus::models::resolver::{self, Following};
use inferbus::nats::connect::Connection;
use inferbus::observe::metrics::Metrics;
use inferbus_catalog::{ByteSize, Catalog, FollowOptions, ModelName, Route, RouteName};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::site::Site;

/// The bound of every wait.
pub const PATIENCE: Duration = Duration::from_secs(180);
/// More than the memory of all models.
const MEMORY: u64 = 16 << 30;

/// The shared parts of planes.
#[derive(Clone)]
pub struct Parts {
    server: String,
    loader: Arc<Loader>,
    cache: Arc<ArtifactCache>,
}

impl Parts {
    pub fn of(site: &Site) -> anyhow::Result<Self> {
        Ok(Self { server: site.url()?.to_owned(), loader: site.loader.clone(), cache: site.cache.clone() })
    }
}

pub struct Plane {
    client: Client,
    pub catalog: Catalog,
    pub registry: Arc<Registry>,
    routes: watch::Receiver<BTreeMap<RouteName, Route>>,
    events: Arc<Events>,
    stop: CancellationToken,
    resolver: JoinHandle<()>,
}

/// Counts of connection events.
#[derive(Default)]
struct Events {
    connected: AtomicUsize,
    faults: AtomicUsize,
}

impl Events {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => self.connected.fetch_add(1, Ordering::Relaxed),
            Event::SlowConsumer(_) | Event::ServerError(_) | Event::ClientError(_) => {
                self.faults.fetch_add(1, Ordering::Relaxed)
            }
            _ => 0,
        };
    }
}

impl Plane {
    /// Connects, follows, and waits until every model of the catalog is resolved. Models are loaded lazily.
    pub async fn start(parts: Parts) -> anyhow::Result<Self> {
        let events = Arc::new(Events::default());
        let connection = Connection { server: Some(parts.server), no_context: true, ..Connection::default() };
        let noted = events.clone();
        let client = connection.worker("plane", move |event| noted.note(&event)).await?;
        let catalog = Catalog::open(client.clone()).await?;
        let (routes_found, routes) = watch::channel(BTreeMap::new());
        let registry = Arc::new(Registry::default());
        let follower = catalog.follow(FollowOptions::default());
        let following = Following {
            catalog: catalog.clone(),
            loader: parts.loader,
            registry: registry.clone(),
            metrics: Metrics::new(),
            routes: routes_found,
            journal: None,
            budget: Arc::new(Budget::new(ByteSize::new(MEMORY), limits::MODELS, BTreeSet::new())),
            load_policy: LoadPolicy::Lazy,
            artifacts: Some(parts.cache),
        };
        let stop = CancellationToken::new();
        let resolver = tokio::spawn(resolver::run(following, follower, stop.clone()));
        let plane = Self { client, catalog, registry, routes, events, stop, resolver };
        let complete = tokio::time::timeout(PATIENCE, plane.registry.completed()).await;
        complete.with_context(|| format!("a plane was not complete in time: {:?}", plane.registry.behind()))?;
        Ok(plane)
    }

    /// Fails unless the plane knows this number of models.
    pub fn check(&self, models: usize) -> anyhow::Result<()> {
        let counts = self.registry.counts();
        let known = counts.cold + counts.loaded;
        ensure!(known == models, "a plane knows {known} of {models} models");
        Ok(())
    }

    /// Loads a model like its first message.
    pub async fn load(&self, model: &str) -> anyhow::Result<()> {
        let loaded = tokio::time::timeout(PATIENCE, self.registry.loaded(model)).await;
        match loaded.with_context(|| format!("{model} was not loaded in time"))? {
            Ok(_) => Ok(()),
            Err(refusal) => anyhow::bail!("{model} was not loaded: {}", refusal),
        }
    }

    /// Waits until the plane serves a version of a model.
    pub async fn until_serving(&self, model: &ModelName, version: &str) -> anyhow::Result<Instant> {
        let served = async {
            while !self.serves(model, version) {
                // In a worker, the waiting room takes these notifications.
                self.registry.settled.take().await;
            }
            Instant::now()
        };
        let waited = tokio::time::timeout(PATIENCE, served).await;
        waited.with_context(|| format!("{model} {version} was not served in time"))
    }

    fn serves(&self, model: &ModelName, version: &str) -> bool {
        let bundle = self.registry.slot(model).and_then(|slot| slot.bundle);
        bundle.is_some_and(|bundle| bundle.identity.version.to_string() == version)
    }

    /// Waits until the plane has published this route.
    pub async fn until_routed(&self, name: &RouteName, route: &Route) -> anyhow::Result<Instant> {
        let mut routes = self.routes.clone();
        let waited = tokio::time::timeout(PATIENCE, routes.wait_for(|routes| routes.get(name) == Some(route))).await;
        waited.with_context(|| format!("the route {name} did not arrive in time"))??;
        Ok(Instant::now())
    }

    pub fn routes(&self) -> usize {
        self.routes.borrow().len()
    }

    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// The numbers of connects and of client errors.
    pub fn history(&self) -> (usize, usize) {
        (self.events.connected.load(Ordering::Relaxed), self.events.faults.load(Ordering::Relaxed))
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.resolver).await;
        ended.context("a plane did not stop in time")?.context("a resolver panicked")
    }
}
