//! Which bundle serves which model right now.
//!
//! Promises: a reader on the message path takes no lock and waits for nobody; it gets an `Arc` that stays
//! whole however often the model is swapped meanwhile. Only the resolver writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use inferbus_catalog::{ModelName, RouteName};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::bundle::Bundle;
use crate::metrics::BundleMetrics;
use crate::outcome::Refusal;
use crate::spread::Spread;

/// One active model as this worker sees it.
#[derive(Clone, Default)]
pub struct Slot {
    /// What answers now; stays while a new version loads or fails to.
    pub bundle: Option<Arc<Bundle>>,
    /// The version that the catalog asks for.
    pub wanted: Option<String>,
    /// Why the wanted version does not serve.
    pub error: Option<String>,
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
    /// What half of the messages, and all but one in a hundred, took at most since the version was loaded, waiting included.
    #[serde(default)]
    pub p50_micros: Option<u64>,
    #[serde(default)]
    pub p99_micros: Option<u64>,
    #[serde(flatten)]
    pub spent: Spent,
}

/// Where the time of a version's messages went: half of them, and all but one in a hundred, took at most this.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, PartialEq)]
#[serde(default)]
pub struct Spent {
    /// Waiting for a compute thread.
    pub queue_p50_micros: Option<u64>,
    pub queue_p99_micros: Option<u64>,
    /// Waiting on it for the other messages of a run.
    pub batch_p50_micros: Option<u64>,
    pub batch_p99_micros: Option<u64>,
    /// In the model.
    pub compute_p50_micros: Option<u64>,
    pub compute_p99_micros: Option<u64>,
    /// How many messages shared a run of the model, on average.
    pub messages_per_run: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum ModelState {
    /// Serves what the catalog asks for.
    Serving,
    /// The first version is on its way.
    Loading,
    /// What the catalog asks for cannot be had; an older version may still serve.
    Failed,
}

#[derive(Default)]
pub struct Registry {
    slots: ArcSwap<BTreeMap<ModelName, Slot>>,
    complete: watch::Sender<bool>,
    taking: AtomicBool,
    behind: ArcSwapOption<String>,
    /// Routes that cannot be served now, and why.
    route_problems: ArcSwap<BTreeMap<RouteName, String>>,
}

impl Registry {
    /// The bundle that serves a model, or what to answer instead.
    pub fn active(&self, model: &str) -> Result<Arc<Bundle>, Refusal> {
        let slots = self.slots.load();
        let Some(slot) = slots.get(model) else {
            return Err(Refusal::UnknownModel { model: model.to_owned() });
        };
        slot.bundle.clone().ok_or_else(|| Refusal::NotLoaded {
            model: model.to_owned(),
            why: slot.error.clone().unwrap_or_else(|| "it is on its way".into()),
        })
    }

    /// Changes one model's slot; readers see the old one or the new one, never a mixture.
    pub fn update(&self, model: &ModelName, change: impl Fn(&mut Slot)) {
        self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            change(slots.entry(model.clone()).or_default());
            slots
        });
    }

    pub fn remove(&self, model: &ModelName) {
        self.slots.rcu(|slots| {
            let mut slots = BTreeMap::clone(slots);
            slots.remove(model);
            slots
        });
    }

    pub fn slot(&self, model: &ModelName) -> Option<Slot> {
        self.slots.load().get(model).cloned()
    }

    /// Says that every model of the catalog has been looked at once.
    pub fn mark_complete(&self) {
        self.complete.send_if_modified(|complete| !std::mem::replace(complete, true));
    }

    /// Waits for [`Registry::mark_complete`].
    pub async fn completed(&self) {
        // An error would mean that the sender, which we hold, is gone.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Says that the server knows of this worker: from now on messages come.
    pub fn mark_taking(&self) {
        self.taking.store(true, Ordering::Relaxed);
    }

    /// Says whether changes of the catalog may be unknown for now, and why.
    pub fn set_behind(&self, why: Option<String>) {
        self.behind.store(why.map(Arc::new));
    }

    /// Why changes of the catalog may be unknown for now. What serves keeps serving meanwhile.
    pub fn behind(&self) -> Option<String> {
        self.behind.load().as_deref().cloned()
    }

    /// Says why a route cannot be served, or that it can.
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

    /// Why this worker does not serve everything that is active; empty when it does.
    pub fn unready(&self) -> Vec<String> {
        if !*self.complete.borrow() {
            return vec!["the catalog has not been read yet".into()];
        }
        if !self.taking.load(Ordering::Relaxed) {
            return vec!["no messages are taken yet".into()];
        }
        let slots = self.slots.load();
        let missing = slots.iter().filter(|(_, slot)| slot.bundle.is_none());
        let models = missing.map(|(model, slot)| format!("{model}: {}", slot.error.as_deref().unwrap_or("loading")));
        let routes = self.route_problems.load();
        models.chain(routes.iter().map(|(route, why)| format!("route {route}: {why}"))).collect()
    }

    pub fn status(&self) -> Vec<ModelStatus> {
        self.slots.load().iter().map(|(model, slot)| slot.status(model)).collect()
    }
}

impl Slot {
    fn status(&self, model: &ModelName) -> ModelStatus {
        let identity = self.bundle.as_ref().map(|bundle| &bundle.identity);
        let state = match (&self.error, &self.bundle) {
            (Some(_), _) => ModelState::Failed,
            (None, Some(_)) => ModelState::Serving,
            (None, None) => ModelState::Loading,
        };
        let metrics = self.bundle.as_ref().map(|bundle| &bundle.metrics);
        let micros = |spread: fn(&BundleMetrics) -> &Spread, share| {
            u64::try_from(spread(metrics?).quantile(share)?.as_micros()).ok()
        };
        let spent = Spent {
            queue_p50_micros: micros(|metrics| &metrics.queued, 0.5),
            queue_p99_micros: micros(|metrics| &metrics.queued, 0.99),
            batch_p50_micros: micros(|metrics| &metrics.gathered, 0.5),
            batch_p99_micros: micros(|metrics| &metrics.gathered, 0.99),
            compute_p50_micros: micros(|metrics| &metrics.computed, 0.5),
            compute_p99_micros: micros(|metrics| &metrics.computed, 0.99),
            messages_per_run: metrics.and_then(BundleMetrics::messages_per_run),
        };
        ModelStatus {
            model: model.to_string(),
            version: identity.map(|identity| identity.version.to_string()),
            digest: identity.map(|identity| identity.digest.to_string()),
            wanted: self.wanted.clone(),
            state,
            error: self.error.clone(),
            p50_micros: micros(|metrics| &metrics.took, 0.5),
            p99_micros: micros(|metrics| &metrics.took, 0.99),
            spent,
        }
    }
}
