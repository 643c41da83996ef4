//! Observability: metrics, logs and traces.

pub(crate) mod latency;
pub mod metrics;
pub(crate) mod plugin_log;
pub mod telemetry;
