//! The metrics of loaded and cold models.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// The number and memory of loaded models, and the cost of cold models.
pub struct ModelMetrics {
    pub loaded: Gauge,
    pub cold: Gauge,
    pub memory: Gauge,
    pub evictions: Counter,
    pub cold_loads: Counter,
    pub waits: Histogram,
}

impl ModelMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let models = Self {
            loaded: Gauge::default(),
            cold: Gauge::default(),
            memory: Gauge::default(),
            evictions: Counter::default(),
            cold_loads: Counter::default(),
            waits: Histogram::new(exponential_buckets(1e-3, 2.0, 18)),
        };
        let Self { loaded, cold, memory, evictions, cold_loads, waits } = &models;
        registry.register("models_loaded", "Models with a version in service", loaded.clone());
        registry.register("models_cold", "Active models that their first message will load", cold.clone());
        registry.register(
            "model_memory_bytes",
            "Estimated memory of all loaded versions, including versions that finish their last messages",
            memory.clone(),
        );
        registry.register("model_evictions", "Models evicted for others", evictions.clone());
        registry.register("model_cold_loads", "Models loaded on request", cold_loads.clone());
        let help = "Time of requests in the waiting room";
        registry.register_with_unit("model_cold_wait", help, Unit::Seconds, waits.clone());
        models
    }
}

/// A bundle's share of the models' memory, until its drop.
pub struct Weight {
    memory: Gauge,
    bytes: i64,
}

impl Weight {
    pub(super) fn new(models: &ModelMetrics, bytes: u64) -> Self {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        models.memory.inc_by(bytes);
        Self { memory: models.memory.clone(), bytes }
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.memory.dec_by(self.bytes);
    }
}
