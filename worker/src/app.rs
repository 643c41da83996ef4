//! The composition root: creates, connects and stops every part of a worker.
//!
//! Guarantees: [`run`] returns after every accepted message has its answer, or with a log line after the bound on this
//! wait.

mod background;
mod connection;
mod folders;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_nats::Client;
use inferbus_catalog::{ByteSize, Catalog, FollowOptions, ModelName, Route, RouteName};
use inferbus_engine::TrialProcess;
use inferbus_sandbox::{Compiler, Sandbox};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::background::Background;
use crate::config::{Compute, WorkerConfig};
use crate::crashes::journal::Journal;
use crate::lanes::dispatch::Dispatch;
use crate::lanes::lane::Lanes;
use crate::limits;
use crate::models::budget::Budget;
use crate::models::host_memory;
use crate::models::loader::{Loader, sandboxed};
use crate::models::registry::Registry;
use crate::models::resolver::{self, Following};
use crate::models::trials::Trials;
use crate::observe::metrics::Metrics;
use crate::open_inference::http::{self, Door, OpenInference};
use crate::open_inference::model_queries::ModelQueries;
use crate::requests::admission::Admission;
use crate::requests::{reply, resume, subscriptions};
use crate::status::admin::{self, Admin};
use crate::status::service::Service;
use crate::stream::context::{Confirmations, StreamContext};
use crate::stream::credits::Credits;

/// One thread for everything asynchronous. Passing messages between threads costs more than it gains.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The child processes of a loader.
#[derive(Default)]
pub struct Children {
    pub compiler: Compiler,
    /// The trial process of new models; without it models load untried.
    pub models: Option<TrialProcess>,
}

/// The loader of bundles: the native library, the sandbox with its compiler, the lanes.
pub fn loader(compute: &Compute, children: Children) -> anyhow::Result<Loader> {
    let Children { compiler, models } = children;
    let backend = compute.engine.backend()?;
    let mut sandbox = Sandbox::new(compute.ceilings.ceilings())?.compiling_with(compiler);
    if let Some(cache) = folders::plugin_cache(&compute.cache) {
        sandbox = sandbox.caching_in(cache);
    }
    Ok(Loader {
        backend,
        sandbox,
        trials: models
            .map(|process| Trials::with(compute.models.bounded(process), folders::trial_notes(compute)))
            .unwrap_or_default(),
        models: compute.models.ceilings(),
        lanes: compute.lane_count(),
        transform: sandboxed,
    })
}

/// Runs a worker until `stop`, then finishes the messages in flight.
pub async fn run(config: WorkerConfig, children: Children, stop: CancellationToken) -> anyhow::Result<()> {
    let loader = loader(&config.compute, children)?;
    run_with(config, loader, Confirmations::default(), stop).await
}

/// [`run`] with a loader and confirmations chosen by the caller.
pub async fn run_with(
    config: WorkerConfig,
    loader: Loader,
    confirmations: Confirmations,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let loader = Arc::new(loader);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        worker = config.worker_name,
        lanes = loader.lanes,
        engine = %loader.backend,
        "worker starting"
    );
    let (metrics, registry) = (Metrics::new(), Arc::new(Registry::default()));
    let (listener, admin_address) = admin::listen(config.admin).await?;
    tracing::info!(address = %admin_address, "serving health, readiness and metrics");
    // The admin server runs until the last message has left.
    let watching = CancellationToken::new();
    let (worker, door) = (config.worker_name.clone(), Arc::new(Door::default()));
    let infer = !config.no_http_infer;
    let open_inference =
        Arc::new(OpenInference::new(worker.clone(), registry.clone(), metrics.clone(), door.clone(), infer));
    let admin = Admin { worker, registry: registry.clone(), metrics: metrics.clone() };
    let background = Background::start()?;
    let admin = background.tasks.spawn(admin::run(listener, admin, http::router(open_inference), watching.clone()));

    let client = config.connection.worker(&config.worker_name, connection::events(metrics.clone())).await?;
    if let Some(catalog) = connection::open_catalog(&client, &stop).await {
        let admin = admin_address.to_string();
        let background = background.tasks.clone();
        let worker = Worker { config, client, loader, registry, metrics, confirmations, admin, door, background };
        worker.serve(catalog, &stop).await?;
    }
    watching.cancel();
    // A client with an endless request must not keep the worker alive.
    match tokio::time::timeout(limits::FAREWELL, admin).await {
        Ok(ended) => ended.context("the admin server panicked")?.context("the admin server failed"),
        Err(_) => Ok(()),
    }
}

/// A connected worker.
struct Worker {
    config: WorkerConfig,
    client: Client,
    loader: Arc<Loader>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    confirmations: Confirmations,
    admin: String,
    door: Arc<Door>,
    /// Runs tasks on the background thread.
    background: Handle,
}

/// The tasks until the last message.
struct Tasks {
    resolver: JoinHandle<()>,
    service: JoinHandle<anyhow::Result<()>>,
    queries: JoinHandle<()>,
    publisher: JoinHandle<()>,
}

impl Worker {
    async fn serve(self, catalog: Catalog, stop: &CancellationToken) -> anyhow::Result<()> {
        let max_in_flight = self.config.bus.max_in_flight as usize;
        let places = max_in_flight + limits::STREAM_PLACES;
        let lane_count = self.loader.lanes;
        let (finished, outgoing) = mpsc::channel(places);
        let journal = folders::crash_journal(&self.config.crash_journal, lane_count);
        let lanes = Lanes::start(lane_count, places, &finished, journal.as_ref())
            .context("the compute threads cannot be started")?;
        drop(finished);
        let publisher = tokio::spawn(reply::run(self.client.clone(), self.metrics.clone(), outgoing));

        let end = CancellationToken::new();
        let (routes_found, routes) = watch::channel(BTreeMap::new());
        let resolver = self.resolver(catalog, routes_found, journal.clone(), end.clone());
        let service = self.background.spawn(self.service().run(end.clone()));
        tokio::select! {
            () = self.registry.completed() => {}
            () = stop.cancelled() => {}
        }
        let (client, registry, metrics) = (self.client.clone(), self.registry.clone(), self.metrics.clone());
        let queries = ModelQueries::subscribe(client, registry, metrics, &self.config.bus).await?;
        let queries = self.background.spawn(queries.run(stop.clone()));
        let tasks = Tasks { resolver, service, queries, publisher };

        let dispatch = Arc::new(Dispatch::new(self.registry.clone(), lanes, lane_count));
        let admission = Admission::new(self.client.clone(), dispatch.clone(), self.metrics.clone(), max_in_flight);
        let admission = Arc::new(admission);
        let streams = Arc::new(self.streams(dispatch.clone(), journal.clone()));
        self.door.open(&admission, stop.clone());
        let resumed = tokio::spawn(resume::run(admission.clone(), stop.clone()));
        let settings = self.config.bus.clone();
        subscriptions::run(admission.clone(), streams.clone(), settings, routes, stop.clone()).await;

        tracing::info!("worker stopping: finishing the messages in flight");
        resumed.await.context("the waiting room panicked")?;
        dispatch.lanes.stop_batching_delay();
        drain(&admission, &streams).await;
        if let Some(journal) = journal {
            journal.close();
        }
        end.cancel();
        connection::flush(&self.client).await;
        // The lanes end when their last handle is dropped, and the publisher when the lanes have ended.
        drop((dispatch, admission, streams));
        tasks.finish().await
    }

    fn resolver(
        &self,
        catalog: Catalog,
        routes: watch::Sender<BTreeMap<RouteName, Route>>,
        journal: Option<Arc<Journal>>,
        end: CancellationToken,
    ) -> JoinHandle<()> {
        let follower = catalog.follow(FollowOptions::default());
        let following = Following {
            catalog,
            loader: self.loader.clone(),
            registry: self.registry.clone(),
            metrics: self.metrics.clone(),
            routes,
            journal,
            budget: budget(&self.config),
            load_policy: self.config.loads.load_policy,
            artifacts: folders::artifact_cache(&self.config),
        };
        self.background.spawn(resolver::run(following, follower, end))
    }

    fn streams(&self, dispatch: Arc<Dispatch>, journal: Option<Arc<Journal>>) -> StreamContext {
        StreamContext {
            client: self.client.clone(),
            dispatch,
            metrics: self.metrics.clone(),
            journal,
            credits: Credits::default(),
            confirmations: self.confirmations,
        }
    }

    fn service(&self) -> Service {
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started = i128::try_from(started.as_nanos()).unwrap_or_default();
        let (config, client) = (&self.config, &self.client);
        let metadata = [("worker", config.worker_name.clone()), ("admin", self.admin.clone())];
        Service {
            client: client.clone(),
            id: client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned(),
            worker: config.worker_name.clone(),
            subject: format!("{}.*", config.bus.prefix),
            group: config.bus.group.clone(),
            metadata: HashMap::from(metadata.map(|(name, value)| (name.to_owned(), value))),
            started: async_nats::datetime::from_nanos(started).unwrap_or(async_nats::datetime::DateTime::UNIX_EPOCH),
            registry: self.registry.clone(),
            metrics: self.metrics.clone(),
        }
    }
}

impl Tasks {
    async fn finish(self) -> anyhow::Result<()> {
        let Self { resolver, service, queries, publisher } = self;
        let ended = async {
            resolver.await.context("the resolver panicked")?;
            service.await.context("the service panicked")??;
            queries.await.context("the model queries panicked")?;
            publisher.await.context("the publisher panicked")
        };
        tokio::time::timeout(limits::FAREWELL, ended).await.unwrap_or_else(|_| {
            tracing::warn!("a lane is still running and is abandoned");
            Ok(())
        })
    }
}

/// Waits for the end of every message in flight.
async fn drain(admission: &Admission, streams: &StreamContext) {
    let drained = async {
        admission.drained().await;
        streams.credits.drained().await;
    };
    if tokio::time::timeout(limits::DRAIN, drained).await.is_err() {
        tracing::error!(
            seconds = limits::DRAIN.as_secs(),
            "messages in flight did not finish in time and are abandoned"
        );
    }
}

fn budget(config: &WorkerConfig) -> Arc<Budget> {
    let most = config.compute.most_models();
    let half = || host_memory::available().map_or(limits::MODEL_MEMORY, |bytes| bytes / 2);
    let limit = config.loads.memory_budget.unwrap_or_else(|| ByteSize::new(half()));
    let pinned = config.loads.keep_loaded.iter().cloned().collect();
    let budget = Budget::new(limit, most, pinned);
    let pinned: Vec<&str> = budget.pinned().iter().map(ModelName::as_str).collect();
    tracing::info!(memory = %limit, most, load_policy = ?config.loads.load_policy, ?pinned, "model budget");
    Arc::new(budget)
}
