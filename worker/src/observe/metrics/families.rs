//! The metric families of bundles, and the removal of series of versions that are gone.
//!
//! Guarantees: labels come from the catalog or from this program, never from a message, so a publisher cannot create
//! series. The number of series of unloaded versions is bounded, in count and in time.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use inferbus_pipeline::{Identity, Plan, outcome};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::limits;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabels {
    model: String,
    version: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StepLabels {
    model: String,
    version: String,
    step: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WaitLabels {
    model: String,
    version: String,
    wait: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VersionLabels {
    model: String,
    version: String,
}

/// A model version, as labels name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Version {
    model: String,
    version: String,
}

impl Version {
    pub(super) fn of(identity: &Identity) -> Self {
        Self { model: identity.model.to_string(), version: identity.version.to_string() }
    }

    pub(super) fn labels(&self) -> VersionLabels {
        let Self { model, version } = self.clone();
        VersionLabels { model, version }
    }

    pub(super) fn outcome(&self, outcome: &'static str) -> OutcomeLabels {
        let Self { model, version } = self.clone();
        OutcomeLabels { model, version, outcome }
    }

    pub(super) fn step(&self, step: &'static str) -> StepLabels {
        let Self { model, version } = self.clone();
        StepLabels { model, version, step }
    }

    pub(super) fn wait(&self, wait: &'static str) -> WaitLabels {
        let Self { model, version } = self.clone();
        WaitLabels { model, version, wait }
    }
}

/// The worker's totals, as the NATS services protocol reports them.
#[derive(Debug, Default)]
pub struct Totals {
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    pub nanoseconds: AtomicU64,
    last_error: Mutex<Option<(u16, String)>>,
}

impl Totals {
    pub fn last_error(&self) -> Option<(u16, String)> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn error(&self, code: u16, text: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, text.to_owned()));
    }
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

pub(super) struct BundleFamilies {
    pub(super) messages: Family<OutcomeLabels, Counter>,
    pub(super) steps: Histograms<StepLabels>,
    pub(super) waits: Histograms<WaitLabels>,
    pub(super) batches: Histograms<VersionLabels>,
    pub(super) emits: Counter,
    pub(super) totals: Totals,
    versions: Mutex<Versions>,
}

/// The versions with series: those with a bundle, and those that lost their last bundle recently.
#[derive(Default)]
struct Versions {
    bundles: HashMap<Version, usize>,
    gone: VecDeque<(Instant, Version)>,
    steps: BTreeSet<&'static str>,
    /// The failure labels used so far.
    failures: BTreeSet<&'static str>,
}

impl Versions {
    /// Removes and returns the versions with expired series.
    fn expired(&mut self, now: Instant) -> Vec<Version> {
        let mut expired = Vec::new();
        while let Some((since, _)) = self.gone.front()
            && (self.gone.len() > limits::GONE_VERSIONS || now.duration_since(*since) >= limits::SERIES_AFTER)
        {
            expired.extend(self.gone.pop_front().map(|(_, version)| version));
        }
        expired.retain(|version| !self.bundles.contains_key(version));
        expired
    }
}

/// From 1 µs to about 4 s.
fn time_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 2.0, 23))
}

fn batch_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 8))
}

const WAITS: [&str; 2] = ["lane", "batch"];

impl BundleFamilies {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self {
            messages: Family::default(),
            steps: Family::new_with_constructor(time_histogram),
            waits: Family::new_with_constructor(time_histogram),
            batches: Family::new_with_constructor(batch_histogram),
            emits: Counter::default(),
            totals: Totals::default(),
            versions: Mutex::default(),
        };
        let Self { messages, steps, waits, batches, emits, .. } = &families;
        registry.register("messages", "Computed messages by outcome", messages.clone());
        registry.register_with_unit("step", "Time of one step of a message", Unit::Seconds, steps.clone());
        let help = "Time of a message before its steps: in the queue (lane), or on a lane for its batch (batch)";
        registry.register_with_unit("wait", help, Unit::Seconds, waits.clone());
        registry.register("batch_messages", "Messages in one run of the model", batches.clone());
        registry.register("emitted_messages", "Extra messages emitted by plugins", emits.clone());
        families
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        // Each update is complete in itself, so a panic of another holder leaves consistent data.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a bundle of a version. `create` looks up its series under the lock, so no thread removes them meanwhile.
    pub(super) fn hold<T>(&self, version: &Version, plan: &Plan, create: impl FnOnce() -> T) -> T {
        let mut versions = self.versions();
        *versions.bundles.entry(version.clone()).or_default() += 1;
        versions.steps.extend(plan.steps().map(|(_, name)| name));
        self.remove_expired(&mut versions, Instant::now());
        create()
    }

    pub(super) fn release(&self, version: &Version, now: Instant) {
        let mut versions = self.versions();
        if let Some(bundles) = versions.bundles.get_mut(version) {
            *bundles -= 1;
            if *bundles == 0 {
                versions.bundles.remove(version);
                versions.gone.push_back((now, version.clone()));
            }
        }
        self.remove_expired(&mut versions, now);
    }

    pub(super) fn failed(&self, version: &Version, label: &'static str) {
        self.versions().failures.insert(label);
        self.messages.get_or_create(&version.outcome(label)).inc();
    }

    pub(super) fn expire(&self) {
        self.remove_expired(&mut self.versions(), Instant::now());
    }

    fn remove_expired(&self, versions: &mut Versions, now: Instant) {
        for version in versions.expired(now) {
            for outcome in [outcome::OK, outcome::NO_RESULT].iter().chain(&versions.failures) {
                self.messages.remove(&version.outcome(outcome));
            }
            for step in &versions.steps {
                self.steps.remove(&version.step(step));
            }
            for wait in WAITS {
                self.waits.remove(&version.wait(wait));
            }
            self.batches.remove(&version.labels());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_expire_in_time() {
        let mut versions = Versions::default();
        let now = Instant::now();
        versions.gone.push_back((now, Version { model: "m".into(), version: "1.0.0".into() }));
        assert!(versions.expired(now + limits::SERIES_AFTER / 2).is_empty());
        assert_eq!(versions.expired(now + limits::SERIES_AFTER).len(), 1);
    }
}
