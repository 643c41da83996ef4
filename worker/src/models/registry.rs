//! The registry: the serving bundle of each model.
//!
//! Guarantees: readers on the message path neither lock nor wait. They get an `Arc` of a complete bundle, even during a
//! swap. Only the resolver writes. The cost of a change does not depend on the number of models.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use inferbus_catalog::{ModelName, RouteName};
use inferbus_pipeline::Refusal;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};

use super::budget::ByUse;
use super::bundle::Bundle;
use super::notify_map::NotifyMap;
use crate::limits;
use crate::observe::latency::LatencyHistogram;
use crate::observe::metrics::BundleMetrics;

/// The state of one active model in this worker.
#[derive(Clone, Default)]
pub struct Slot {
    /// The serving bundle. It stays while a new version loads or fails to load.
    pub bundle: Option<Arc<Bundle>>,
    /// The active version in the catalog.
    pub wanted: Option<String>,
    /// The reason for a wanted version out of service.
    pub error: Option<String>,
    pub demand: Demand,
}

/// The demand for a model without a serving bundle.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Loaded at once. The worker is not ready before.
    #[default]
    Eager,
    /// Loaded by its first message.
    OnRequest,
    /// A message requested the load.
    Requested,
}

/// The result of a lookup for a message.
pub enum Found {
    Active(Arc<Bundle>),
    /// Loaded on request.
    Cold(ModelName),
    Refused(Refusal),
}

/// Models by state, for the metrics and the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub loaded: usize,
    pub cold: usize,
}

/// One line of `inferbus status`.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
pub struct ModelStatus {
    pub model: String,
    pub version: Option<String>,
    pub digest: Option<String>,
    pub wanted: Option<String>,
    pub state: ModelState,
    pub error: Option<String>,
    /// The quantiles of the whole time of a message since the load of the version, waits included.
    #[serde(default)]
    pub p50_micros: Option<u64>,
    #[serde(default)]
    pub p99_micros: Option<u64>,
    /// The estimated memory of the version.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// The time since the last message.
    #[serde(default)]
    pub idle_seconds: Option<u64>,
    #[serde(flatten)]
    pub spent: Spent,
}

/// The quantiles of a version's times per message, by phase.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Spent {
    /// The wait for a lane.
    pub queue_p50_micros: Option<u64>,
    pub queue_p99_micros: Option<u64>,
    /// The wait on a lane for the other messages of the batch.
    pub batch_p50_micros: Option<u64>,
    pub batch_p99_micros: Option<u64>,
    /// The model's run.
    pub compute_p50_micros: Option<u64>,
    pub compute_p99_micros: Option<u64>,
    /// The mean number of messages in one run.
    pub messages_per_run: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// The wanted version serves.
    Serving,
    /// The first version is being loaded.
    Loading,
    /// The wanted version cannot be loaded. An older version may still serve.
    Failed,
    /// Loaded by its first message.
    Cold,
}

type Slots = BTreeMap<ModelName, Arc<ArcSwap<Slot>>>;

#[derive(Default)]
pub struct Registry {
    slots: ArcSwap<Slots>,
    /// Models requested by messages.
    pub load_requests: NotifyMap<()>,
    /// Checked models, each with its serving bundle.
    pub settled: NotifyMap<Option<Arc<Bundle>>>,
    /// Notified after a check of a model.
    looked_at: Notify,
    complete: watch::Sender<bool>,
    taking: AtomicBool,
    behind: ArcSwapOption<String>,
    /// Routes out of service, each with the reason.
    route_problems: ArcSwap<BTreeMap<RouteName, String>>,
}

impl Registry {
    pub fn find(&self, model: &str) -> Found {
        let slots = self.slots.load();
        let Some((name, slot)) = slots.get_key_value(model) else {
            return Found::Refused(Refusal::UnknownModel { model: model.to_owned() });
        };
        match &**slot.load() {
            Slot { bundle: Some(bundle), .. } => Found::Active(bundle.clone()),
            Slot { error: Some(why), .. } => {
                Found::Refused(Refusal::NotLoaded { model: model.to_owned(), why: why.clone() })
            }
            _ => Found::Cold(name.clone()),
        }
    }

    /// Whether a message for the model would be accepted, possibly after a load. Does not request the load.
    pub fn takes(&self, model: &str) -> Result<(), Refusal> {
        match self.find(model) {
            Found::Active(_) | Found::Cold(_) => Ok(()),
            Found::Refused(refusal) => Err(refusal),
        }
    }

    /// The bundle for a message, or the refusal for its reply. Requests the load of a cold model.
    pub fn active(&self, model: &str) -> Result<Arc<Bundle>, Refusal> {
        match self.find(model) {
            Found::Active(bundle) => {
                bundle.touch();
                Ok(bundle)
            }
            Found::Refused(refusal) => Err(refusal),
            Found::Cold(name) => {
                self.load_requests.put(name, ());
                Err(Refusal::NotLoaded { model: model.to_owned(), why: "it is on its way".into() })
            }
        }
    }

    /// [`Registry::active`], but waits for a load in progress.
    pub async fn loaded(&self, model: &str) -> Result<Arc<Bundle>, Refusal> {
        let until = tokio::time::Instant::now() + limits::LOAD;
        loop {
            let looked_at = self.looked_at.notified();
            let found = self.active(model);
            let is_loading = matches!(self.find(model), Found::Cold(_));
            if found.is_ok() || !is_loading || tokio::time::timeout_at(until, looked_at).await.is_err() {
                return found;
            }
        }
    }

    /// Notifies the waiting requests after a check of a model.
    pub fn settle(&self, model: ModelName, bundle: Option<Arc<Bundle>>) {
        self.settled.put(model, bundle);
        self.looked_at.notify_waiters();
    }

    /// Changes one model's slot. Readers see the old slot or the new one, never a mixture.
    pub fn update(&self, model: &ModelName, change: impl Fn(&mut Slot)) {
        if !self.update_known(model, &change) {
            let mut slot = Slot::default();
            change(&mut slot);
            self.add([(model.clone(), slot)]);
        }
    }

    /// [`Registry::update`], but ignores unknown models.
    pub fn update_known(&self, model: &ModelName, change: impl Fn(&mut Slot)) -> bool {
        let Some(slot) = self.slots.load().get(model).cloned() else {
            return false;
        };
        slot.rcu(|slot| {
            let mut slot = Slot::clone(slot);
            change(&mut slot);
            slot
        });
        true
    }

    /// Adds unknown models in one step.
    pub fn add(&self, models: impl IntoIterator<Item = (ModelName, Slot)>) {
        let new: Slots =
            models.into_iter().map(|(model, slot)| (model, Arc::new(ArcSwap::from_pointee(slot)))).collect();
        self.slots.rcu(|slots| {
            let mut all = new.clone();
            all.extend(slots.iter().map(|(model, slot)| (model.clone(), slot.clone())));
            all
        });
    }

    pub fn remove(&self, model: &ModelName) {
        self.slots.rcu(|slots| {
            let mut slots = Slots::clone(slots);
            slots.remove(model);
            slots
        });
    }

    pub fn slot(&self, model: &ModelName) -> Option<Slot> {
        self.slots.load().get(model).map(|slot| Slot::clone(&slot.load()))
    }

    /// The evictable models, the least recently used first.
    pub fn by_use(&self) -> ByUse {
        let slots = self.slots.load();
        let (mut used, mut stays) = (Vec::new(), None::<Duration>);
        for (model, slot) in slots.iter() {
            let slot = slot.load();
            let Some(bundle) = &slot.bundle else { continue };
            let still = bundle.stays();
            // Each message in flight holds the bundle.
            if Arc::strong_count(bundle) > 1 && !still.is_zero() {
                stays = Some(stays.map_or(still, |stays| stays.min(still)));
            } else {
                used.push((bundle.used(), model));
            }
        }
        used.sort_unstable();
        ByUse { models: used.into_iter().map(|(_, model)| model.clone()).collect(), stays }
    }

    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in self.slots.load().values() {
            match slot.load().state() {
                ModelState::Cold => counts.cold += 1,
                _ => counts.loaded += usize::from(slot.load().bundle.is_some()),
            }
        }
        counts
    }

    /// Records the first complete read of the catalog.
    pub fn mark_complete(&self) {
        self.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
    }

    /// Waits for [`Registry::mark_complete`].
    pub async fn completed(&self) {
        // An error would mean a dropped sender, but `self` holds it.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Records the confirmed subscription: messages arrive from now on.
    pub fn mark_taking(&self) {
        self.taking.store(true, Ordering::Relaxed);
    }

    /// Sets the reason for possibly unknown changes of the catalog, or `None`.
    pub fn set_behind(&self, why: Option<String>) {
        self.behind.store(why.map(Arc::new));
    }

    /// The reason for possibly unknown changes of the catalog. Serving bundles keep serving.
    pub fn behind(&self) -> Option<String> {
        self.behind.load().as_deref().cloned()
    }

    /// Sets the reason for a route out of service, or `None`.
    pub fn set_route_problem(&self, route: &RouteName, why: Option<String>) {
        self.route_problems.rcu(|problems| {
            let mut problems = BTreeMap::clone(problems);
            match &why {
                Some(why) => problems.insert(route.clone(), why.clone()),
                None => problems.remove(route),
            };
            problems
        });
    }

    /// The reasons against readiness. Empty if the worker serves all active models.
    pub fn unready(&self) -> Vec<String> {
        if !*self.complete.borrow() {
            return vec!["the catalog has not been read yet".into()];
        }
        if !self.taking.load(Ordering::Relaxed) {
            return vec!["no messages are taken yet".into()];
        }
        let slots = self.slots.load();
        let missing = slots.iter().filter_map(|(model, slot)| {
            let slot = slot.load();
            let missing = slot.bundle.is_none() && slot.demand == Demand::Eager;
            missing.then(|| format!("{model}: {}", slot.error.as_deref().unwrap_or("loading")))
        });
        let routes = self.route_problems.load();
        let routes = routes.iter().map(|(route, why)| format!("route {route}: {why}"));
        missing.chain(routes).take(limits::STATUS_PROBLEMS).collect()
    }

    /// As many models as fit into an answer, cold models last.
    pub fn status(&self) -> Vec<ModelStatus> {
        let slots = self.slots.load();
        let (cold, warm): (Vec<_>, Vec<_>) = slots.iter().partition(|(_, slot)| slot.load().is_cold());
        let shown = warm.into_iter().take(limits::STATUS_MODELS).chain(cold.into_iter().take(limits::STATUS_COLD));
        let mut shown: Vec<_> = shown.collect();
        shown.sort_unstable_by_key(|(model, _)| *model);
        shown.into_iter().map(|(model, slot)| slot.load().status(model)).collect()
    }
}

impl Slot {
    /// A known model without a load.
    pub fn cold() -> Self {
        Self { demand: Demand::OnRequest, ..Self::default() }
    }

    /// Takes the bundle out of service. The next message loads it again.
    pub fn cool(&mut self) {
        (self.bundle, self.error, self.demand) = (None, None, Demand::OnRequest);
    }

    pub fn is_cold(&self) -> bool {
        self.state() == ModelState::Cold
    }

    fn state(&self) -> ModelState {
        match (&self.error, &self.bundle) {
            (Some(_), _) => ModelState::Failed,
            (None, Some(_)) => ModelState::Serving,
            (None, None) if self.demand == Demand::OnRequest => ModelState::Cold,
            (None, None) => ModelState::Loading,
        }
    }

    fn status(&self, model: &ModelName) -> ModelStatus {
        let identity = self.bundle.as_ref().map(|bundle| &bundle.identity);
        let metrics = self.bundle.as_ref().map(|bundle| &bundle.metrics);
        let micros = |spread: fn(&BundleMetrics) -> &LatencyHistogram, share| {
            u64::try_from(spread(metrics?).quantile(share)?.as_micros()).ok()
        };
        let spent = Spent {
            queue_p50_micros: micros(|metrics| &metrics.lane_wait, 0.5),
            queue_p99_micros: micros(|metrics| &metrics.lane_wait, 0.99),
            batch_p50_micros: micros(|metrics| &metrics.batch_wait, 0.5),
            batch_p99_micros: micros(|metrics| &metrics.batch_wait, 0.99),
            compute_p50_micros: micros(|metrics| &metrics.model, 0.5),
            compute_p99_micros: micros(|metrics| &metrics.model, 0.99),
            messages_per_run: metrics.and_then(BundleMetrics::messages_per_run),
        };
        ModelStatus {
            model: model.to_string(),
            version: identity.map(|identity| identity.version.to_string()),
            digest: identity.map(|identity| identity.digest.to_string()),
            wanted: self.wanted.clone(),
            state: self.state(),
            error: self.error.clone(),
            p50_micros: micros(|metrics| &metrics.whole, 0.5),
            p99_micros: micros(|metrics| &metrics.whole, 0.99),
            spent,
            memory_bytes: self.bundle.as_ref().map(|bundle| bundle.memory),
            idle_seconds: self.bundle.as_ref().map(|bundle| bundle.idle().as_secs()),
        }
    }
}
