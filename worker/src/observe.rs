//! Observability: metrics, logs and traces.

pub mod latency;
pub mod metrics;
pub mod plugin_log;
pub mod telemetry;
