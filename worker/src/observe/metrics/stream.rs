//! The metrics of stream routes.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndLabels {
    route: String,
    end: &'static str,
}

/// The end of a stream message in this worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Result,
    NoResult,
    DeadLetter,
    /// Left for a redelivery.
    Retried,
}

#[derive(Default)]
pub(super) struct StreamFamilies {
    pending: Family<RouteLabels, Gauge>,
    unacked: Family<RouteLabels, Gauge>,
    messages: Family<EndLabels, Counter>,
    redelivered: Family<RouteLabels, Counter>,
    duplicates: Family<RouteLabels, Counter>,
}

/// The handles for one route.
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
    pub(super) fn register(registry: &mut Registry) -> Self {
        let families = Self::default();
        let Self { pending, unacked, messages, redelivered, duplicates } = &families;
        registry.register(
            "stream_pending_messages",
            "Stored messages of a route without a delivery: scale workers by this",
            pending.clone(),
        );
        registry.register(
            "stream_unacked_messages",
            "Stored messages delivered to workers and not acknowledged",
            unacked.clone(),
        );
        registry.register(
            "stream_messages",
            "Stored messages of a route by their end at this worker",
            messages.clone(),
        );
        registry.register("stream_redelivered", "Redelivered messages", redelivered.clone());
        registry.register("stream_duplicates", "Duplicate results rejected by the server", duplicates.clone());
        families
    }

    pub(super) fn route(&self, route: &str) -> RouteMetrics {
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
