//! Latencies of concurrent requests, and the versions in their answers.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use async_nats::Message;

/// Latencies in milliseconds.
#[derive(Default)]
pub struct Latencies(Mutex<Vec<f64>>);

impl Latencies {
    /// Adds the time since `due`.
    pub fn add_since(&self, due: Instant) {
        let latency = due.elapsed().as_secs_f64() * 1e3;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
    }

    /// The 99th percentile since the last call.
    pub fn take_p99(&self) -> f64 {
        let mut latencies = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        latencies.sort_unstable_by(f64::total_cmp);
        latencies.get(latencies.len() * 99 / 100).copied().unwrap_or(f64::NAN)
    }
}

/// The version in a reply's header.
pub fn version_of(reply: &Message) -> Option<String> {
    let version = reply.headers.as_ref()?.get("Inferbus-Version")?;
    Some(version.to_string())
}
