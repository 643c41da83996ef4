//! Every metric of the worker, and the text for Prometheus.
//!
//! Guarantees: labels come from the catalog or from this program, never from a message, so a publisher cannot create
//! series.

mod bundle;
mod families;
mod models;
mod stream;

use std::sync::Arc;

use inferbus_catalog::RouteName;
use inferbus_pipeline::{Identity, Plan, Verdict};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

pub use self::bundle::BundleMetrics;
pub use self::families::Totals;
use self::families::{BundleFamilies, Version};
pub use self::models::{ModelMetrics, Weight};
use self::stream::StreamFamilies;
pub use self::stream::{End, RouteMetrics};

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
    reason: &'static str,
}

pub struct Metrics {
    registry: Registry,
    bundle_families: Arc<BundleFamilies>,
    rejected: Family<ReasonLabels, Counter>,
    bundle_info: Family<BundleLabels, Gauge>,
    swaps: Family<ModelLabels, Counter>,
    load_failures: Family<ModelLabels, Counter>,
    pub models: ModelMetrics,
    pub in_flight: Gauge,
    stuck_lanes: Gauge,
    pub publish_failures: Counter,
    pub slow_consumers: Counter,
    pub connected: Gauge,
    pub connects: Counter,
    streams: StreamFamilies,
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

fn family<L, M>(registry: &mut Registry, name: &str, help: &str) -> Family<L, M>
where
    L: Clone + Eq + std::hash::Hash + EncodeLabelSet + std::fmt::Debug + Send + Sync + 'static,
    M: Default + Send + Sync + 'static,
    Family<L, M>: prometheus_client::registry::Metric + Default + Clone,
{
    let family = Family::default();
    registry.register(name, help, family.clone());
    family
}

/// Counts one message in flight until it is dropped.
pub struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::with_prefix("inferbus");
        let new = &mut registry;
        let metrics = Self {
            bundle_families: Arc::new(BundleFamilies::register(new)),
            rejected: family(new, "requests_rejected", "Requests rejected before their first step, by reason"),
            bundle_info: family(new, "bundle_info", "1 for each model version and digest in service"),
            swaps: family(new, "bundle_swaps", "Bundles that went into service"),
            load_failures: family(new, "bundle_load_failures", "Failed loads of versions that the catalog activates"),
            in_flight: gauge(new, "in_flight_messages", "Requests in flight"),
            stuck_lanes: gauge(new, "stuck_lanes", "Lanes with a model run past its time limit: restart the worker"),
            publish_failures: counter(new, "publish_failures", "Replies, results and emits that the client rejected"),
            slow_consumers: counter(new, "nats_slow_consumers", "Times the NATS client dropped messages"),
            connected: gauge(new, "nats_connected", "1 while connected to NATS"),
            connects: counter(new, "nats_connects", "Connections established to NATS"),
            streams: StreamFamilies::register(new),
            models: ModelMetrics::register(new),
            registry: Registry::default(),
        };
        Arc::new(Self { registry, ..metrics })
    }

    pub fn count_in_flight(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    pub fn totals(&self) -> &Totals {
        &self.bundle_families.totals
    }

    /// The handles for a loaded bundle.
    pub fn bundle(&self, identity: &Identity, plan: &Plan) -> BundleMetrics {
        let version = Version::of(identity);
        self.bundle_families.hold(&version, plan, || BundleMetrics::new(&self.bundle_families, version.clone(), plan))
    }

    /// The handles for a stream route.
    pub fn route(&self, route: &RouteName) -> RouteMetrics {
        self.streams.route(route.as_str())
    }

    /// Counts a rejected message.
    pub fn refusal(&self, verdict: Verdict, text: &str) {
        self.rejected.get_or_create(&ReasonLabels { reason: verdict.label }).inc();
        self.totals().requests.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        self.totals().error(verdict.code, text);
    }

    pub fn bundle_in_service(&self, old: Option<&Identity>, new: &Identity) {
        if let Some(old) = old {
            self.bundle_out_of_service(old);
        }
        self.bundle_info.get_or_create(&bundle_labels(new)).set(1);
        self.swaps.get_or_create(&ModelLabels { model: new.model.to_string() }).inc();
    }

    pub fn bundle_out_of_service(&self, identity: &Identity) {
        self.bundle_info.remove(&bundle_labels(identity));
    }

    /// Counts a bundle's memory until the returned weight is dropped.
    pub fn weight(&self, bytes: u64) -> Weight {
        Weight::new(&self.models, bytes)
    }

    pub fn load_failed(&self, model: &str) {
        self.load_failures.get_or_create(&ModelLabels { model: model.into() }).inc();
    }

    /// The text for Prometheus.
    pub fn text(&self) -> Result<String, std::fmt::Error> {
        self.stuck_lanes.set(i64::try_from(inferbus_engine::stuck_runs()).unwrap_or(i64::MAX));
        self.bundle_families.expire();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

fn bundle_labels(identity: &Identity) -> BundleLabels {
    BundleLabels {
        model: identity.model.to_string(),
        version: identity.version.to_string(),
        digest: identity.digest.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use inferbus_pipeline::MessageTimes;

    use super::*;
    use crate::limits;

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
        let first = metrics.bundle(&identity("1.0.0"), &Plan::chain(true, true));
        let again = metrics.bundle(&identity("1.0.0"), &Plan::chain(true, true));
        drop(first);
        for number in 0..limits::GONE_VERSIONS {
            let bundle = metrics.bundle(&identity(&format!("2.0.{number}")), &Plan::chain(false, false));
            bundle.failed(Verdict { code: 500, label: "trapped" }, "", &MessageTimes::default(), Duration::ZERO);
        }
        assert!(has(&metrics, "2.0.0"), "a scraper had no time to read them");
        for number in 0..limits::GONE_VERSIONS {
            drop(metrics.bundle(&identity(&format!("3.0.{number}")), &Plan::chain(false, false)));
        }
        assert!(!has(&metrics, "2.0.0") && has(&metrics, "3.0.0"));
        assert!(has(&metrics, "1.0.0"), "one bundle of it is left");
        again.succeeded(true, 0, &MessageTimes::default(), Duration::ZERO);
        let line = "inferbus_messages_total{model=\"m\",version=\"1.0.0\",outcome=\"ok\"} 1";
        assert!(metrics.text().expect("text").contains(line));
    }
}
