//! Every counter of the worker, and their text for Prometheus.
//!
//! Promises: labels come from the catalog or from this crate, never from a message, so a publisher cannot
//! make the number of series grow.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inferbus_catalog::RouteName;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::job::StageTimes;
use crate::limits;
use crate::models::bundle::Identity;
use crate::observe::latency::Spread;
use crate::outcome::Verdict;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    model: String,
    version: String,
    outcome: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StageLabels {
    model: String,
    version: String,
    stage: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    model: String,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BundleLabels {
    model: String,
    version: String,
    digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabels {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

/// The worker's own totals, as the NATS services protocol reports them.
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

    fn error(&self, code: u16, text: &str) {
        self.errors.fetch_add(1, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some((code, text.to_owned()));
    }
}

pub struct Metrics {
    registry: Registry,
    messages: Family<OutcomeLabels, Counter>,
    stages: Family<StageLabels, Histogram>,
    batches: Family<VersionLabels, Histogram>,
    refused: Family<ReasonLabels, Counter>,
    bundles: Family<BundleLabels, Gauge>,
    swaps: Family<ModelLabels, Counter>,
    load_failures: Family<ModelLabels, Counter>,
    pub models: ModelMetrics,
    pub in_flight: Gauge,
    stuck_lanes: Gauge,
    pub emits: Counter,
    pub unpublished: Counter,
    pub slow_consumers: Counter,
    pub connected: Gauge,
    pub connections: Counter,
    pub totals: Totals,
    streams: StreamFamilies,
    versions: Mutex<Versions>,
}

/// Which versions have series: those with a bundle, and those that had one until lately.
#[derive(Default)]
struct Versions {
    bundles: HashMap<(String, String), usize>,
    gone: VecDeque<(Instant, (String, String))>,
    /// Outcomes that any message of any version had so far.
    outcomes: BTreeSet<&'static str>,
}

impl Versions {
    /// The versions whose series are of no use any more: their bundles are gone, and whoever reads metrics has read them.
    fn outlived(&mut self, now: Instant) -> Vec<(String, String)> {
        let mut outlived = Vec::new();
        while let Some((since, _)) = self.gone.front()
            && (self.gone.len() > limits::GONE_VERSIONS || now.duration_since(*since) >= limits::SERIES_AFTER)
        {
            outlived.extend(self.gone.pop_front().map(|(_, version)| version));
        }
        outlived.retain(|version| !self.bundles.contains_key(version));
        outlived
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    route: String,
    end: &'static str,
}

/// How a stream's message ended at this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Result,
    NoResult,
    DeadLetter,
    /// It was left to be delivered again.
    Retried,
}

#[derive(Default)]
struct StreamFamilies {
    pending: Family<RouteLabels, Gauge>,
    unacked: Family<RouteLabels, Gauge>,
    messages: Family<EndLabels, Counter>,
    redelivered: Family<RouteLabels, Counter>,
    duplicates: Family<RouteLabels, Counter>,
}

/// The handles that one stream's route touches.
pub struct RouteMetrics {
    pub pending: Gauge,
    pub unacked: Gauge,
    pub redelivered: Counter,
    pub duplicates: Counter,
    ends: [Counter; 4],
}

impl RouteMetrics {
    pub fn ended(&self, end: End) {
        self.ends[end as usize].inc();
    }
}

impl StreamFamilies {
    fn register(registry: &mut Registry) -> Self {
        let families = Self::default();
        let Self { pending, unacked, messages, redelivered, duplicates } = &families;
        registry.register(
            "stream_pending",
            "Stored messages of a route that have not been delivered: scale workers by this",
            pending.clone(),
        );
        registry.register("stream_unacked", "Messages delivered to workers and not confirmed", unacked.clone());
        registry.register("stream_messages", "Messages of a stream's route, by how they ended here", messages.clone());
        registry.register("stream_redelivered", "Messages that came not for the first time", redelivered.clone());
        registry.register("stream_duplicates", "Results that the server had already", duplicates.clone());
        families
    }

    fn route(&self, route: &str) -> RouteMetrics {
        let labels = RouteLabels { route: route.into() };
        let end = |end| self.messages.get_or_create_owned(&EndLabels { route: route.into(), end });
        RouteMetrics {
            pending: self.pending.get_or_create_owned(&labels),
            unacked: self.unacked.get_or_create_owned(&labels),
            redelivered: self.redelivered.get_or_create_owned(&labels),
            duplicates: self.duplicates.get_or_create_owned(&labels),
            ends: ["result", "no_result", "dead_letter", "retried"].map(end),
        }
    }
}

/// Which models are loaded, what they take, and what it costs that others are not.
pub struct ModelMetrics {
    pub loaded: Gauge,
    pub cold: Gauge,
    pub memory: Gauge,
    pub evictions: Counter,
    pub cold_loads: Counter,
    pub waits: Histogram,
}

impl ModelMetrics {
    fn register(registry: &mut Registry) -> Self {
        let models = Self {
            loaded: Gauge::default(),
            cold: Gauge::default(),
            memory: Gauge::default(),
            evictions: Counter::default(),
            cold_loads: Counter::default(),
            waits: Histogram::new(exponential_buckets(1e-3, 2.0, 18)),
        };
        let Self { loaded, cold, memory, evictions, cold_loads, waits } = &models;
        registry.register("models_loaded", "Models that have a version in service", loaded.clone());
        registry.register("models_cold", "Models that are loaded by their first message", cold.clone());
        registry.register(
            "model_memory_bytes",
            "What the versions take that are loaded, those included that finish their last messages: an estimate",
            memory.clone(),
        );
        registry.register("evictions", "Models that made room for others", evictions.clone());
        registry.register("cold_loads", "Models that a message had loaded", cold_loads.clone());
        let help = "How long requests waited for their model to be loaded";
        registry.register_with_unit("cold_wait", help, Unit::Seconds, waits.clone());
        models
    }
}

/// What a bundle adds to the memory that models take, until it is dropped.
pub struct Weight {
    memory: Gauge,
    bytes: i64,
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.memory.dec_by(self.bytes);
    }
}

/// The handles that one bundle's messages touch: found once at load, not looked up per message.
pub struct BundleMetrics {
    all: Arc<Metrics>,
    identity: (String, String),
    ok: Counter,
    no_result: Counter,
    queue: Histogram,
    batch: Histogram,
    pre: Histogram,
    infer: Histogram,
    post: Histogram,
    shared: Histogram,
    /// From arrival to result.
    pub took: Spread,
    /// Waiting for a lane.
    pub queued: Spread,
    /// On a lane before the model ran, but not in a stage of its own.
    pub gathered: Spread,
    /// In the model.
    pub computed: Spread,
    runs: AtomicU64,
    ran: AtomicU64,
}

/// From 1 µs to about 4 s.
fn stage_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1e-6, 2.0, 23))
}

/// Where a message's time goes: [`BundleMetrics`] has a histogram of each.
const STAGES: [&str; 5] = ["queue", "batch", "pre", "infer", "post"];

fn batch_histogram() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 8))
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("inferbus");
        let messages = Family::default();
        registry.register("messages", "Messages that ran, by outcome", messages.clone());
        let stages = Family::new_with_constructor(stage_histogram as fn() -> Histogram);
        registry.register_with_unit(
            "stage",
            "Time of a message: waiting for a lane (queue), for its neighbours (batch), in pre, infer and post",
            Unit::Seconds,
            stages.clone(),
        );
        let batches = Family::new_with_constructor(batch_histogram as fn() -> Histogram);
        registry.register("batch_messages", "Messages that shared a run of the model, once per run", batches.clone());
        let refused = Family::default();
        registry.register("refused", "Messages that were not tried, by reason", refused.clone());
        let bundles = Family::default();
        registry.register("bundle", "1 for each model version and digest that serves now", bundles.clone());
        let swaps = Family::default();
        registry.register("swaps", "Bundles that went into service", swaps.clone());
        let load_failures = Family::default();
        registry.register(
            "load_failures",
            "Versions that the catalog asked for and that could not be served",
            load_failures.clone(),
        );
        let in_flight = gauge(&mut registry, "in_flight", "Messages in hand");
        let stuck = "Lanes whose model does not end although its time is over: restart the worker";
        let stuck_lanes = gauge(&mut registry, "stuck_lanes", stuck);
        let emits = counter(&mut registry, "emits", "Extra messages that plugins emitted");
        let lost = "Replies, results and emits that the client did not take";
        let unpublished = counter(&mut registry, "unpublished", lost);
        let slow = "Times that messages were dropped because the bus was too slow";
        let slow_consumers = counter(&mut registry, "slow_consumers", slow);
        let connected = gauge(&mut registry, "connected", "1 while connected to NATS");
        let connections = counter(&mut registry, "connections", "Connections made to NATS");
        let streams = StreamFamilies::register(&mut registry);
        let models = ModelMetrics::register(&mut registry);
        Arc::new(Self {
            streams,
            models,
            registry,
            messages,
            stages,
            batches,
            refused,
            bundles,
            swaps,
            load_failures,
            in_flight,
            stuck_lanes,
            emits,
            unpublished,
            slow_consumers,
            connected,
            connections,
            totals: Totals::default(),
            versions: Mutex::default(),
        })
    }

    /// The handles for a bundle that has been loaded.
    pub fn bundle(self: &Arc<Self>, identity: &Identity) -> BundleMetrics {
        let (model, version) = (identity.model.to_string(), identity.version.to_string());
        // Held until the handles are there, so that nobody takes the series away meanwhile.
        let mut versions = self.versions();
        *versions.bundles.entry((model.clone(), version.clone())).or_default() += 1;
        self.forget(&mut versions);
        let outcome = |outcome: &str| {
            self.messages.get_or_create_owned(&OutcomeLabels {
                model: model.clone(),
                version: version.clone(),
                outcome: outcome.into(),
            })
        };
        let stage = |stage: &str| {
            self.stages.get_or_create_owned(&StageLabels {
                model: model.clone(),
                version: version.clone(),
                stage: stage.into(),
            })
        };
        let [queue, batch, pre, infer, post] = STAGES.map(stage);
        let labels = VersionLabels { model: model.clone(), version: version.clone() };
        BundleMetrics {
            ok: outcome(crate::outcome::OK),
            no_result: outcome(crate::outcome::NO_RESULT),
            queue,
            batch,
            pre,
            infer,
            post,
            shared: self.batches.get_or_create_owned(&labels),
            took: Spread::default(),
            queued: Spread::default(),
            gathered: Spread::default(),
            computed: Spread::default(),
            runs: AtomicU64::new(0),
            ran: AtomicU64::new(0),
            all: self.clone(),
            identity: (model, version),
        }
    }

    fn versions(&self) -> MutexGuard<'_, Versions> {
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes away the series of the versions that are outlived.
    fn forget(&self, versions: &mut Versions) {
        for (model, version) in versions.outlived(Instant::now()) {
            for outcome in [crate::outcome::OK, crate::outcome::NO_RESULT].iter().chain(&versions.outcomes) {
                let (model, version, outcome) = (model.clone(), version.clone(), (*outcome).to_owned());
                self.messages.remove(&OutcomeLabels { model, version, outcome });
            }
            for stage in STAGES {
                let (model, version, stage) = (model.clone(), version.clone(), stage.to_owned());
                self.stages.remove(&StageLabels { model, version, stage });
            }
            self.batches.remove(&VersionLabels { model, version });
        }
    }

    /// The handles for a stream's route.
    pub fn route(&self, route: &RouteName) -> RouteMetrics {
        self.streams.route(route.as_str())
    }

    /// A message that was not tried.
    pub fn refusal(&self, verdict: Verdict, text: &str) {
        self.refused.get_or_create(&ReasonLabels { reason: verdict.label.into() }).inc();
        self.totals.requests.fetch_add(1, Ordering::Relaxed);
        self.totals.error(verdict.code, text);
    }

    pub fn bundle_in_service(&self, old: Option<&Identity>, new: &Identity) {
        if let Some(old) = old {
            self.bundle_out_of_service(old);
        }
        self.bundles.get_or_create(&bundle_labels(new)).set(1);
        self.swaps.get_or_create(&ModelLabels { model: new.model.to_string() }).inc();
    }

    pub fn bundle_out_of_service(&self, identity: &Identity) {
        self.bundles.remove(&bundle_labels(identity));
    }

    /// Counts what a bundle takes, for as long as the returned weight lives.
    pub fn weight(&self, bytes: u64) -> Weight {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.models.memory.inc_by(bytes);
        Weight { memory: self.models.memory.clone(), bytes }
    }

    pub fn load_failed(&self, model: &str) {
        self.load_failures.get_or_create(&ModelLabels { model: model.into() }).inc();
    }

    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.stuck_lanes.set(i64::try_from(inferbus_engine::stuck_runs()).unwrap_or(i64::MAX));
        self.forget(&mut self.versions());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Drop for BundleMetrics {
    fn drop(&mut self) {
        let mut versions = self.all.versions();
        if let Some(bundles) = versions.bundles.get_mut(&self.identity) {
            *bundles -= 1;
            if *bundles == 0 {
                versions.bundles.remove(&self.identity);
                versions.gone.push_back((Instant::now(), self.identity.clone()));
            }
        }
        self.all.forget(&mut versions);
    }
}

fn bundle_labels(identity: &Identity) -> BundleLabels {
    BundleLabels {
        model: identity.model.to_string(),
        version: identity.version.to_string(),
        digest: identity.digest.to_string(),
    }
}

impl BundleMetrics {
    pub fn done(&self, has_output: bool, emits: usize, times: StageTimes, whole: Duration) {
        let outcome = if has_output { &self.ok } else { &self.no_result };
        outcome.inc();
        self.all.emits.inc_by(emits as u64);
        self.count(times, whole);
    }

    pub fn failed(&self, verdict: Verdict, text: &str, times: StageTimes, whole: Duration) {
        let (model, version) = self.identity.clone();
        self.all.versions().outcomes.insert(verdict.label);
        self.all.messages.get_or_create(&OutcomeLabels { model, version, outcome: verdict.label.into() }).inc();
        self.all.totals.error(verdict.code, text);
        self.count(times, whole);
    }

    fn count(&self, times: StageTimes, whole: Duration) {
        let StageTimes { queue, gathering, pre, infer, post, .. } = times;
        for (histogram, time) in
            [(&self.queue, queue), (&self.batch, gathering), (&self.pre, pre), (&self.infer, infer), (&self.post, post)]
        {
            if !time.is_zero() {
                histogram.observe(time.as_secs_f64());
            }
        }
        for (spread, time) in [(&self.took, whole), (&self.queued, queue), (&self.computed, infer)] {
            spread.observe(time);
        }
        if !gathering.is_zero() {
            self.gathered.observe(gathering);
        }
        let totals = &self.all.totals;
        totals.requests.fetch_add(1, Ordering::Relaxed);
        totals.nanoseconds.fetch_add(u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The model was run for so many messages at once.
    pub fn ran(&self, messages: usize) {
        self.shared.observe(messages as f64);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.ran.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Messages that shared a run, on average.
    pub fn messages_per_run(&self) -> Option<f64> {
        let (runs, messages) = (self.runs.load(Ordering::Relaxed), self.ran.load(Ordering::Relaxed));
        (runs > 0).then(|| messages as f64 / runs as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(version: &str) -> Identity {
        let digest = inferbus_catalog::Digest::of(version.as_bytes());
        Identity { model: "m".parse().expect("a name"), version: version.parse().expect("a version"), digest }
    }

    fn has(metrics: &Metrics, version: &str) -> bool {
        metrics.text().expect("text").contains(&format!("version=\"{version}\""))
    }

    #[test]
    fn series_of_gone_versions_stay_for_a_while_and_are_bounded() {
        let metrics = Metrics::new();
        let first = metrics.bundle(&identity("1.0.0"));
        let again = metrics.bundle(&identity("1.0.0"));
        drop(first);
        for number in 0..limits::GONE_VERSIONS {
            let bundle = metrics.bundle(&identity(&format!("2.0.{number}")));
            bundle.failed(Verdict { code: 500, label: "trapped" }, "", StageTimes::default(), Duration::ZERO);
        }
        assert!(has(&metrics, "2.0.0"), "whoever reads metrics has had no time to read them");
        for number in 0..limits::GONE_VERSIONS {
            drop(metrics.bundle(&identity(&format!("3.0.{number}"))));
        }
        assert!(!has(&metrics, "2.0.0") && has(&metrics, "3.0.0"));
        assert!(has(&metrics, "1.0.0"), "one bundle of it is left");
        again.done(true, 0, StageTimes::default(), Duration::ZERO);
        let line = "inferbus_messages_total{model=\"m\",version=\"1.0.0\",outcome=\"ok\"} 1";
        assert!(metrics.text().expect("text").contains(line));
    }

    #[test]
    fn series_are_outlived_in_time() {
        let mut versions = Versions::default();
        let now = Instant::now();
        versions.gone.push_back((now, ("m".into(), "1.0.0".into())));
        assert!(versions.outlived(now + limits::SERIES_AFTER / 2).is_empty());
        assert_eq!(versions.outlived(now + limits::SERIES_AFTER).len(), 1);
    }
}
