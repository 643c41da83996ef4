//! The resolver: follows the catalog and keeps the registry equal to it. Fetches, loads and swaps bundles.
//!
//! Guarantees: each change notification causes a new read of the catalog, so the last change wins, even after lost
//! notifications. After any fault the serving bundle keeps serving, and the registry holds the reason. A transient
//! fault is retried with growing pauses. Memory is reserved before a load begins, and evicted bundles are out of
//! service by then.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::FutureExt as _;
use inferbus_catalog::{
    Catalog, CatalogFault, Changes, Digest, Entry, Follower, FollowerState, ModelName, Pointer, Route, RouteName,
    RouteSummary,
};
use inferbus_pipeline::Identity;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::artifact_cache::ArtifactCache;
use super::budget::{self, Budget, Lease, NoRoom};
use super::bundle::Bundle;
use super::loader::{Artifacts, BundleFault, Loader};
use super::registry::{Demand, Registry, Slot};
use super::teardown::Teardown;
use super::work_queue::WorkQueue;
use crate::config::LoadPolicy;
use crate::crashes::journal::Journal;
use crate::limits;
use crate::nats::backoff;
use crate::observe::metrics::Metrics;

/// The reason for an active version out of service.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error(transparent)]
    Catalog(#[from] CatalogFault),
    #[error(
        "the active version is missing in the catalog, although the model was not withdrawn: activate a version again"
    )]
    Lost,
    #[error("the active version cannot be read: {0}")]
    Pointer(String),
    #[error(
        "version {version} has digest {found}, but {wanted} was activated: activate it again, or push the intended \
         version"
    )]
    OtherDigest { version: String, wanted: Digest, found: Digest },
    #[error("version {version}: {fault}")]
    Bundle { version: String, fault: BundleFault },
    #[error(
        "version {version} is in quarantine: it killed this worker {deaths} times; push a corrected version, or delete \
         {} and restart the worker",
        file.display()
    )]
    Quarantined { version: String, deaths: usize, file: PathBuf },
    #[error("version {version} was not loaded within {} s", limits::LOAD.as_secs())]
    TooSlow { version: String },
    #[error("version {version}: {fault}")]
    NoRoom { version: String, fault: NoRoom },
    #[error("loading stopped unexpectedly: {0}")]
    Broken(String),
}

impl Fault {
    fn is_transient(&self) -> bool {
        match self {
            Self::Catalog(fault) => fault.is_transient(),
            Self::TooSlow { .. } => true,
            Self::Bundle { fault, .. } => fault.is_transient(),
            Self::NoRoom { fault, .. } => fault.is_transient(),
            Self::Lost | Self::Pointer(_) | Self::OtherDigest { .. } | Self::Quarantined { .. } | Self::Broken(_) => {
                false
            }
        }
    }
}

/// The result of one look at a model, from its own task.
struct Look {
    model: ModelName,
    result: Result<(), Fault>,
}

/// The reason for a look at a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    /// The catalog may have changed.
    Change,
    /// A load was requested, with evictions if necessary.
    Asked,
}

#[derive(Clone)]
struct Resolver {
    catalog: Catalog,
    loader: Arc<Loader>,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    /// Loads on blocking threads. A timed-out load keeps its permit until it ends.
    loads: Arc<Semaphore>,
    journal: Option<Arc<Journal>>,
    budget: Arc<Budget>,
    load_policy: LoadPolicy,
    artifacts: Option<Arc<ArtifactCache>>,
    teardown: Arc<Teardown>,
}

/// The resolver's work. Each model has at most one look in progress and one waiting look per reason.
#[derive(Default)]
struct Work {
    /// Changed models, not yet sorted into models to read and cold models.
    unsorted: BTreeSet<ModelName>,
    changed: WorkQueue,
    /// Taken first, because requests wait.
    asked: WorkQueue,
    in_progress: BTreeSet<ModelName>,
    failures: BTreeMap<ModelName, u32>,
    looks: JoinSet<Look>,
    /// Models waiting for a retry, each at most once.
    pausing: BTreeSet<ModelName>,
    pauses: JoinSet<ModelName>,
}

pub struct Following {
    pub catalog: Catalog,
    pub loader: Arc<Loader>,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub routes: watch::Sender<BTreeMap<RouteName, Route>>,
    pub journal: Option<Arc<Journal>>,
    pub budget: Arc<Budget>,
    pub load_policy: LoadPolicy,
    pub artifacts: Option<Arc<ArtifactCache>>,
}

/// Follows the catalog until `stop`.
pub async fn run(following: Following, mut follower: Follower, stop: CancellationToken) {
    let Following { catalog, loader, registry, metrics, routes, journal, budget, load_policy, artifacts } = following;
    let loads = Arc::new(Semaphore::new(limits::LOADS));
    let teardown = Arc::new(Teardown::new(budget.clone()));
    let resolver =
        Resolver { catalog, loader, registry, metrics, loads, journal, budget, load_policy, artifacts, teardown };
    let mut work = Work::default();
    let (mut heard, mut routes_behind) = (false, false);
    let mut look_around = tokio::time::interval(limits::LOOK_AROUND);
    loop {
        work.start(&resolver);
        resolver.registry.set_behind(match follower.state() {
            FollowerState::Following => None,
            FollowerState::Behind(why) => Some(why),
        });
        let is_behind = routes_behind || !work.unsorted.is_empty();
        tokio::select! {
            () = stop.cancelled() => return,
            changes = follower.changed() => {
                let Changes { models, routes } = changes;
                work.unsorted.extend(models);
                routes_behind |= routes;
                heard = true;
            }
            asked = resolver.registry.load_requests.take() => work.asked.put(asked.into_keys()),
            _ = look_around.tick() => resolver.teardown.drop_unused_and_trim_heap(),
            Some(look) = work.looks.join_next() => work.looked(look, &resolver),
            Some(Ok(model)) = work.pauses.join_next() => {
                work.pausing.remove(&model);
                work.asked.put([model]);
            }
            () = tokio::time::sleep(limits::RETRY_FIRST), if is_behind => {}
        }
        if routes_behind {
            routes_behind = !resolver.read_routes(&routes).await;
        }
        let known_routes = routes.borrow().clone();
        work.sort(&resolver, &known_routes).await;
        resolver.count();
        // The first notification names all models.
        if heard && work.is_empty() && !routes_behind {
            resolver.registry.mark_complete();
        }
    }
}

impl Work {
    fn is_empty(&self) -> bool {
        self.unsorted.is_empty() && self.changed.is_empty() && self.asked.is_empty() && self.in_progress.is_empty()
    }

    /// Queues changed models: pinned models first, then models of routes, then the others.
    async fn sort(&mut self, resolver: &Resolver, routes: &BTreeMap<RouteName, Route>) {
        if self.unsorted.is_empty() {
            return;
        }
        let mut unasked = BTreeSet::new();
        if self.unsorted.len() > limits::LOOKS {
            match resolver.sift(&mut self.unsorted).await {
                Ok(cold) => unasked = cold,
                Err(fault) => {
                    tracing::warn!(%fault, "cannot read the names of the models; retrying");
                    return;
                }
            }
        }
        let routed: BTreeSet<&ModelName> = routes.values().map(|route| &route.model).collect();
        let in_order = |names: BTreeSet<ModelName>| {
            let mut names: Vec<ModelName> = names.into_iter().collect();
            names.sort_by_key(|model| (!resolver.budget.pinned().contains(model), !routed.contains(model)));
            names
        };
        self.changed.put(in_order(std::mem::take(&mut self.unsorted)));
        self.changed.put(in_order(unasked).into_iter().take(limits::EAGER_MODELS));
    }

    fn next(&mut self) -> Option<(ModelName, Reason)> {
        let asked = self.asked.take(&self.in_progress).map(|model| (model, Reason::Asked));
        asked.or_else(|| Some((self.changed.take(&self.in_progress)?, Reason::Change)))
    }

    fn start(&mut self, resolver: &Resolver) {
        while self.looks.len() < limits::LOADS
            && let Some((model, reason)) = self.next()
        {
            self.in_progress.insert(model.clone());
            let resolver = resolver.clone();
            self.looks.spawn(async move {
                // A panic is a defect, but must not block later looks at this model.
                let look = AssertUnwindSafe(resolver.look(&model, reason)).catch_unwind().await;
                let result = match look {
                    Ok(result) => result,
                    Err(_) => Err(Fault::Broken("it panicked, see the log".into())),
                };
                Look { model, result }
            });
        }
    }

    fn looked(&mut self, look: Result<Look, tokio::task::JoinError>, resolver: &Resolver) {
        // Looks neither panic nor are cancelled, so each one returns a result.
        let Ok(Look { model, result }) = look else {
            return;
        };
        self.in_progress.remove(&model);
        let Err(fault) = result else {
            self.failures.remove(&model);
            resolver.settled(model);
            return;
        };
        let failures = self.failures.entry(model.clone()).or_default();
        *failures = failures.saturating_add(1);
        let pause = backoff::pause(u64::from(*failures));
        resolver.failed(&model, &fault);
        resolver.settled(model.clone());
        if fault.is_transient() && self.pausing.insert(model.clone()) {
            self.pauses.spawn(async move {
                tokio::time::sleep(pause).await;
                model
            });
        }
    }
}

impl Resolver {
    /// Leaves the models to read in `names`, and returns models to load without a request. The others become cold, and
    /// their entries are read on request.
    async fn sift(&self, names: &mut BTreeSet<ModelName>) -> Result<BTreeSet<ModelName>, CatalogFault> {
        let active: BTreeSet<ModelName> = self.catalog.active_names().await?.into_iter().collect();
        let mut cold = BTreeSet::new();
        names.retain(|model| {
            let slot = self.registry.slot(model);
            let is_active = active.contains(model);
            let is_cold = slot.as_ref().is_none_or(|slot| slot.is_cold());
            if is_active && is_cold && !self.budget.pinned().contains(model) {
                cold.insert(model.clone());
                return false;
            }
            is_active || slot.is_some()
        });
        tracing::info!(models = cold.len(), "models are cold, and their entries are read on request");
        self.registry.add(cold.iter().map(|model| (model.clone(), Slot::cold())));
        Ok(if self.load_policy == LoadPolicy::Eager { cold } else { BTreeSet::new() })
    }

    /// Makes the registry equal to the catalog for one model.
    async fn look(&self, model: &ModelName, reason: Reason) -> Result<(), Fault> {
        let Some((pointer, _)) = self.catalog.pointer(model).await? else {
            return self.without_pointer(model).await;
        };
        let is_pinned = self.budget.pinned().contains(model);
        let slot = self.registry.slot(model).unwrap_or_default();
        let must = reason == Reason::Asked || is_pinned || slot.bundle.is_some();
        if !must && self.load_policy == LoadPolicy::Lazy {
            self.registry.update(model, Slot::cool);
            return Ok(());
        }
        match slot.demand {
            Demand::Eager => {}
            _ if is_pinned || !must => self.registry.update(model, |slot| slot.demand = Demand::Eager),
            _ => self.registry.update(model, |slot| slot.demand = Demand::Requested),
        }
        let pointer = pointer.map_err(|problems| Fault::Pointer(problems.to_string()))?;
        self.registry.update(model, |slot| slot.wanted = Some(pointer.version.to_string()));
        let (entry, digest) = self.entry(model, &pointer).await?;
        let serving = self.registry.slot(model).and_then(|slot| slot.bundle);
        if serving.is_some_and(|bundle| bundle.identity.digest == digest && bundle.identity.version == pointer.version)
        {
            self.registry.update_known(model, |slot| slot.error = None);
            return Ok(());
        }
        let identity = Identity { model: model.clone(), version: pointer.version, digest };
        let version = identity.version.to_string();
        let making = async {
            let Some(lease) = self.room_for(model, &identity, &entry, must).await? else {
                return Ok(None);
            };
            self.load(identity, entry).await.map(|bundle| Some((lease, bundle)))
        };
        let made = tokio::time::timeout(limits::LOAD, making).await.map_err(|_| Fault::TooSlow { version })??;
        let Some((lease, bundle)) = made else {
            self.registry.update(model, Slot::cool);
            return Ok(());
        };
        lease.keep(bundle.memory);
        self.swap(model, Arc::new(bundle));
        self.teardown.loaded();
        Ok(())
    }

    /// Reserves a bundle's memory. Evicts other models only if `must` is true.
    async fn room_for(
        &self,
        model: &ModelName,
        identity: &Identity,
        entry: &Entry,
        must: bool,
    ) -> Result<Option<Lease>, Fault> {
        let bytes = budget::estimate(entry);
        let reserved = if must {
            self.budget.reserve_in_turn(model, bytes, || self.registry.by_use()).await
        } else {
            self.budget.reserve(model, bytes, [])
        };
        match reserved {
            Ok((lease, making_room)) => {
                making_room.iter().for_each(|other| self.evict(other));
                Ok(Some(lease))
            }
            Err(fault) if !must && fault.is_transient() => Ok(None),
            Err(fault) => Err(Fault::NoRoom { version: identity.version.to_string(), fault }),
        }
    }

    fn evict(&self, model: &ModelName) {
        let Some(bundle) = self.registry.slot(model).and_then(|slot| slot.bundle) else {
            return;
        };
        self.registry.update_known(model, Slot::cool);
        self.metrics.bundle_out_of_service(&bundle.identity);
        self.metrics.models.evictions.inc();
        tracing::info!(%model, version = %bundle.identity.version, idle = ?bundle.idle(), "evicted for another model");
        self.teardown.add(bundle);
    }

    /// Notifies the requests waiting for a model.
    fn settled(&self, model: ModelName) {
        self.teardown.drop_unused();
        let bundle = self.registry.slot(&model).and_then(|slot| slot.bundle);
        self.registry.settle(model, bundle);
    }

    fn count(&self) {
        let counts = self.registry.counts();
        self.metrics.models.loaded.set(i64::try_from(counts.loaded).unwrap_or(i64::MAX));
        self.metrics.models.cold.set(i64::try_from(counts.cold).unwrap_or(i64::MAX));
    }

    async fn entry(&self, model: &ModelName, pointer: &Pointer) -> Result<(Entry, Digest), Fault> {
        let (entry, digest, _) = self.catalog.entry(model, &pointer.version).await?;
        match pointer.digest {
            Some(wanted) if wanted != digest => {
                Err(Fault::OtherDigest { version: pointer.version.to_string(), wanted, found: digest })
            }
            _ => Ok((entry, digest)),
        }
    }

    /// Fetches the artifacts while evicted bundles leave, then compiles and warms up on a blocking thread.
    async fn load(&self, identity: Identity, entry: Entry) -> Result<Bundle, Fault> {
        let judged = self.journal.as_ref().and_then(|journal| journal.quarantined(&identity.digest));
        if let Some((deaths, file)) = judged {
            return Err(Fault::Quarantined { version: identity.version.to_string(), deaths, file });
        }
        let fetch = Artifacts::fetch(&self.catalog, &entry, self.artifacts.as_ref());
        let (artifacts, ()) = tokio::join!(fetch, self.teardown.room_available());
        let artifacts = artifacts?;
        let (loader, metrics) = (self.loader.clone(), self.metrics.clone());
        let version = identity.version.to_string();
        let journal = self.journal.clone();
        let place = self.loads.clone().acquire_owned().await.map_err(|fault| Fault::Broken(fault.to_string()))?;
        let load = move || {
            let _place = place;
            let _loading = journal.as_ref().map(|journal| journal.loading(&identity.digest));
            loader.load(identity, &entry, &artifacts, &metrics)
        };
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded.map_err(|fault| Fault::Broken(fault.to_string()))?.map_err(|fault| Fault::Bundle { version, fault })
    }

    fn swap(&self, model: &ModelName, bundle: Arc<Bundle>) {
        let slot = self.registry.slot(model).unwrap_or_default();
        if slot.bundle.is_none() && slot.demand == Demand::Requested {
            self.metrics.models.cold_loads.inc();
        }
        self.registry.update(model, |slot| {
            slot.bundle = Some(bundle.clone());
            slot.error = None;
        });
        self.metrics.bundle_in_service(slot.bundle.as_ref().map(|old| &old.identity), &bundle.identity);
        let from = slot.bundle.as_ref().map(|old| old.identity.version.to_string());
        slot.bundle.into_iter().for_each(|old| self.teardown.add(old));
        let identity = &bundle.identity;
        tracing::info!(model = %model, version = %identity.version, digest = %identity.digest, from, "in service");
    }

    /// A deleted pointer takes the model out of service. A lost pointer does not.
    async fn without_pointer(&self, model: &ModelName) -> Result<(), Fault> {
        // A slot without either was created by a fault of an unknown model.
        let known = self.registry.slot(model).is_some_and(|slot| slot.bundle.is_some() || slot.wanted.is_some());
        if known && !self.catalog.is_withdrawn(model).await? {
            return Err(Fault::Lost);
        }
        self.withdraw(model);
        Ok(())
    }

    fn withdraw(&self, model: &ModelName) {
        if let Some(slot) = self.registry.slot(model) {
            self.registry.remove(model);
            self.budget.release(model);
            if let Some(bundle) = slot.bundle {
                self.metrics.bundle_out_of_service(&bundle.identity);
                self.teardown.add(bundle);
            }
            tracing::info!(%model, "no longer active");
        }
    }

    fn failed(&self, model: &ModelName, fault: &Fault) {
        self.metrics.load_failed(model.as_ref());
        self.registry.update(model, |slot| slot.error = Some(fault.to_string()));
        let serving =
            self.registry.slot(model).and_then(|slot| slot.bundle).map(|bundle| bundle.identity.version.to_string());
        tracing::error!(%model, serving, "the active version cannot be served: {fault}");
    }

    /// Sends the valid routes to the bus. Returns whether the catalog could be read.
    async fn read_routes(&self, routes: &watch::Sender<BTreeMap<RouteName, Route>>) -> bool {
        let listed = match self.catalog.routes().await {
            Ok(listed) => listed,
            Err(fault) => {
                tracing::warn!(%fault, "cannot read the routes; keeping the known routes");
                return false;
            }
        };
        let mut valid = BTreeMap::new();
        for RouteSummary { name, route, .. } in listed.into_iter().take(limits::ROUTES) {
            match route {
                Ok(route) => {
                    valid.insert(name, route);
                }
                Err(problems) => tracing::error!(route = %name, "ignoring an invalid route: {problems}"),
            }
        }
        routes.send_if_modified(|known| {
            let changed = *known != valid;
            *known = valid;
            changed
        });
        true
    }
}
