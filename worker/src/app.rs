//! The composition root: every part of a worker is made, joined and taken down here.
//!
//! Promises: [`run`] returns only when every message that was taken has been answered, or when the bound
//! on that has passed, which it says.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use async_nats::{Client, Event};
use inferbus_catalog::{Catalog, FollowOptions, ModelName};
use inferbus_engine::TrialProcess;
use inferbus_sandbox::folder::Folder as PrivateFolder;
use inferbus_sandbox::{Cache, Compiler, Sandbox};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::config::{CacheSetting, CacheSize, Compute, Folder, StateSetting, WorkerConfig};
use crate::crashes::journal::Journal;
use crate::lanes::lane::Lanes;
use crate::limits;
use crate::models::artifact_cache::ArtifactCache;
use crate::models::budget::Budget;
use crate::models::bundle::{Loader, sandboxed};
use crate::models::registry::Registry;
use crate::models::resolver::{self, Following};
use crate::models::trials::Trials;
use crate::nats::connect;
use crate::observe::metrics::Metrics;
use crate::open_inference::http::{Door, OpenInference};
use crate::open_inference::model_queries::Questions;
use crate::requests::admission::{Bus, Given};
use crate::requests::reply;
use crate::requests::subscriptions;
use crate::requests::waiting_room;
use crate::status::admin::{self, Admin};
use crate::status::service::Service;
use crate::stream::store::Promises;

/// One thread for all that waits: messages need no other, and handing them between threads costs more than it gains.
pub fn runtime() -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// The processes that a loader has work done in.
#[derive(Default)]
pub struct Children {
    pub compiler: Compiler,
    /// Where models are tried; without it they are not.
    pub models: Option<TrialProcess>,
}

/// What a bundle runs on: the native library, the sandbox with its compiler, the lanes.
pub fn loader(compute: &Compute, children: Children) -> anyhow::Result<Loader> {
    let Children { compiler, models } = children;
    let backend = compute.engine.backend()?;
    let mut sandbox = Sandbox::new(compute.ceilings.ceilings())?.compiling_with(compiler);
    if let Some(cache) = cache(&compute.cache) {
        sandbox = sandbox.caching_in(cache);
    }
    Ok(Loader {
        backend,
        sandbox,
        trials: models
            .map(|process| Trials::with(compute.models.bounded(process), trial_notes(compute)))
            .unwrap_or_default(),
        models: compute.models.ceilings(),
        lanes: compute.lane_count(),
        transform: sandboxed,
        promises: Promises::default(),
    })
}

/// Nothing that is wrong with the cache keeps a worker from working.
fn cache(setting: &CacheSetting) -> Option<Cache> {
    let folder = match setting.folder() {
        Folder::Off => return None,
        Folder::Unknown => {
            tracing::warn!("compiled plugins are not cached: there is no home folder, so name one with --cache");
            return None;
        }
        Folder::At(folder) => folder,
    };
    let opened = Cache::open(&folder);
    opened.inspect_err(|fault| tracing::warn!("compiled plugins are not cached: {fault}")).ok()
}

/// Nothing that is wrong with the cache keeps a worker from working.
fn trial_notes(compute: &Compute) -> Option<PrivateFolder> {
    let Folder::At(folder) = compute.cache.folder() else { return None };
    let opened = PrivateFolder::open(&folder.join("trials"));
    opened.inspect_err(|fault| tracing::warn!("models are tried at each start: {fault}")).ok()
}

/// Nothing that is wrong with the cache keeps a worker from working.
fn artifact_cache(config: &WorkerConfig) -> Option<Arc<ArtifactCache>> {
    let (CacheSize(Some(most)), Folder::At(folder)) = (config.loads.cache_size, config.compute.cache.folder()) else {
        return None;
    };
    let opened = ArtifactCache::open(&folder.join("artifacts"), most);
    opened.inspect_err(|fault| tracing::warn!("artifacts are not cached: {fault}")).ok().map(Arc::new)
}

/// Nothing that is wrong with the journal keeps a worker from working.
fn journal(setting: &StateSetting, lanes: usize) -> Option<Arc<Journal>> {
    let folder = match setting.folder() {
        Folder::Off => return None,
        Folder::Unknown => {
            tracing::warn!("crashes are not noted: there is no home folder, so name one with --state");
            return None;
        }
        Folder::At(folder) => folder,
    };
    let opened = Journal::open(&folder, lanes);
    let said = opened.inspect_err(|fault| tracing::warn!(folder = %folder.display(), "crashes are not noted: {fault}"));
    said.ok().map(Arc::new)
}

/// Runs a worker until `stop`, then finishes what is in hand and leaves.
pub async fn run(config: WorkerConfig, children: Children, stop: CancellationToken) -> anyhow::Result<()> {
    let loader = loader(&config.compute, children)?;
    run_with(config, loader, stop).await
}

/// [`run`] with a loader of the caller's own.
pub async fn run_with(config: WorkerConfig, loader: Loader, stop: CancellationToken) -> anyhow::Result<()> {
    let loader = Arc::new(loader);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        worker = config.name,
        lanes = loader.lanes,
        engine = %loader.backend,
        "worker starts"
    );
    let metrics = Metrics::new();
    let registry = Arc::new(Registry::default());
    let (listener, admin_address) = admin::listen(config.admin).await?;
    tracing::info!(address = %admin_address, "health, readiness and metrics are served");
    // What watches over the worker stays until the last message is out.
    let watching = CancellationToken::new();
    let (worker, door) = (config.name.clone(), Arc::new(Door::default()));
    let open_inference =
        OpenInference::new(worker.clone(), registry.clone(), metrics.clone(), door.clone(), !config.no_http_infer);
    let open_inference = Arc::new(open_inference);
    let admin = Admin { worker, registry: registry.clone(), metrics: metrics.clone(), open_inference };
    let beside = Beside::start()?;
    let admin = beside.tasks.spawn(admin::run(listener, admin, watching.clone()));

    let client = config.connection.worker(&config.name, connection_events(metrics.clone())).await?;
    if let Some(catalog) = open_catalog(&client, &stop).await {
        let admin = admin_address.to_string();
        let shared = Shared { client, loader, registry, metrics, admin, door, beside: &beside };
        serve(&config, shared, catalog, &stop).await?;
    }
    watching.cancel();
    // A client that never finishes its request must not keep the worker.
    match tokio::time::timeout(limits::FAREWELL, admin).await {
        Ok(ended) => ended.context("the admin server panicked")?.context("the admin server failed"),
        Err(_) => Ok(()),
    }
}

/// What the parts of a connected worker have in common.
struct Shared<'a> {
    client: Client,
    loader: Arc<Loader>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    admin: String,
    door: Arc<Door>,
    beside: &'a Beside,
}

/// A thread for what goes on beside the message path: the catalog, the service, health and metrics. Hashing a large
/// artifact or writing out many metrics never holds up a message.
struct Beside {
    tasks: Handle,
    runtime: Option<Runtime>,
}

impl Beside {
    fn start() -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("beside").enable_all().build();
        let runtime = runtime.context("the thread beside the message path cannot be started")?;
        Ok(Self { tasks: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // A load that is still at work must not keep the process, and is not waited for.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn serve(
    config: &WorkerConfig,
    shared: Shared<'_>,
    catalog: Catalog,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let Shared { client, loader, registry, metrics, admin, door, beside } = shared;
    let in_flight = config.bus.in_flight as usize;
    let places = in_flight + limits::STREAM_PLACES;
    let (lane_count, promises) = (loader.lanes, loader.promises);
    let (finished, outgoing) = mpsc::channel(places);
    let journal = journal(&config.state, lane_count);
    let lanes = Lanes::start(lane_count, places, &finished, journal.as_ref())
        .context("the compute threads cannot be started")?;
    drop(finished);
    let publisher = tokio::spawn(reply::run(client.clone(), metrics.clone(), outgoing));

    let behind = CancellationToken::new();
    let (routes_found, routes) = watch::channel(BTreeMap::new());
    let follower = catalog.follow(FollowOptions::default());
    let following = Following {
        catalog,
        loader,
        registry: registry.clone(),
        metrics: metrics.clone(),
        routes: routes_found,
        journal: journal.clone(),
        budget: budget(config),
        load: config.loads.load,
        artifacts: artifact_cache(config),
    };
    let resolver = beside.tasks.spawn(resolver::run(following, follower, behind.clone()));
    let service = beside.tasks.spawn(service(config, &client, &registry, &metrics, admin).run(behind.clone()));

    tokio::select! {
        () = registry.completed() => {}
        () = stop.cancelled() => {}
    }
    let given = Given { lane_count, in_flight, journal: journal.clone(), promises };
    let questions = Questions::subscribe(client.clone(), registry.clone(), metrics.clone(), &config.bus).await?;
    let questions = beside.tasks.spawn(questions.run(stop.clone()));
    let bus = Arc::new(Bus::new(client.clone(), registry, lanes, metrics, given));
    door.open(&bus, stop.clone());
    let waiting_room = tokio::spawn(waiting_room::run(bus.clone(), stop.clone()));
    subscriptions::run(bus.clone(), config.bus.clone(), routes, stop.clone()).await;

    tracing::info!("worker stops: finishing what is in hand");
    waiting_room.await.context("the waiting room panicked")?;
    bus.lanes.hurry();
    if tokio::time::timeout(limits::DRAIN, bus.emptied()).await.is_err() {
        tracing::error!(seconds = limits::DRAIN.as_secs(), "messages in hand did not finish in time and are given up");
    }
    if let Some(journal) = journal {
        journal.close();
    }
    behind.cancel();
    farewell(&client).await;
    // The lanes end when the bus lets go of their queue, and the publisher when the lanes have ended.
    drop(bus);
    let ends = async {
        resolver.await.context("the resolver panicked")?;
        service.await.context("the service panicked")??;
        questions.await.context("the answers about models panicked")?;
        publisher.await.context("the publisher panicked")
    };
    tokio::time::timeout(limits::FAREWELL, ends).await.unwrap_or_else(|_| {
        tracing::warn!("a lane is still at work and is left behind");
        Ok(())
    })
}

fn budget(config: &WorkerConfig) -> Arc<Budget> {
    let most = config.compute.most_models();
    let budget = config.loads.budget(most);
    let pinned: Vec<&str> = budget.pinned().iter().map(ModelName::as_str).collect();
    tracing::info!(memory = %budget.limit(), most, load = ?config.loads.load, ?pinned, "models are loaded within a budget");
    Arc::new(budget)
}

fn service(
    config: &WorkerConfig,
    client: &Client,
    registry: &Arc<Registry>,
    metrics: &Arc<Metrics>,
    admin: String,
) -> Service {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let started = i128::try_from(started.as_nanos()).unwrap_or_default();
    Service {
        client: client.clone(),
        id: client.new_inbox().rsplit('.').next().unwrap_or_default().to_owned(),
        worker: config.name.clone(),
        subject: format!("{}.*", config.bus.prefix),
        group: config.bus.group.clone(),
        metadata: HashMap::from([("worker".to_owned(), config.name.clone()), ("admin".to_owned(), admin)]),
        started: async_nats::datetime::from_nanos(started).unwrap_or(async_nats::datetime::DateTime::UNIX_EPOCH),
        registry: registry.clone(),
        metrics: metrics.clone(),
    }
}

fn connection_events(metrics: Arc<Metrics>) -> impl Fn(Event) + Send + Sync + Clone + 'static {
    move |event| match event {
        Event::Connected => {
            // The first connection is no reconnect.
            if metrics.connections.inc() > 0 {
                tracing::info!("connected to NATS again");
            }
            metrics.connected.set(1);
        }
        Event::Disconnected => {
            metrics.connected.set(0);
            tracing::warn!("the connection is lost: trying to reach NATS again");
        }
        Event::Closed => {
            metrics.connected.set(0);
            tracing::info!("the connection to NATS is closed");
        }
        Event::SlowConsumer(_) => {
            metrics.slow_consumers.inc();
            tracing::error!("messages were dropped because they came faster than they could be taken: add a worker");
        }
        Event::ServerError(fault) => tracing::error!("the NATS server says: {fault}"),
        Event::ClientError(fault) => tracing::warn!("NATS: {fault}"),
        Event::LameDuckMode | Event::Draining => tracing::info!("{event}"),
    }
}

/// Waits for the server and for the catalog's buckets; `None` if told to stop before they came.
async fn open_catalog(client: &Client, stop: &CancellationToken) -> Option<Catalog> {
    let mut pause = limits::RETRY_FIRST;
    loop {
        let fault = tokio::select! {
            opened = Catalog::open(client.clone()) => match opened {
                Ok(catalog) => return Some(catalog),
                Err(fault) => fault,
            },
            () = stop.cancelled() => return None,
        };
        tracing::warn!("waiting for the catalog: {fault}");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(limits::RETRY_LONGEST),
            () = stop.cancelled() => return None,
        }
    }
}

/// When the round trip is back, the server has everything that was published before.
async fn farewell(client: &Client) {
    if connect::round_trip(client, limits::FAREWELL).await {
        tracing::info!("worker leaves: everything was published");
    } else {
        tracing::warn!("worker leaves, but the server did not confirm the last messages");
    }
}
