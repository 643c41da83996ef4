//! The metrics of one bundle's messages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use inferbus_pipeline::{MessageTimes, Plan, Stage, Verdict};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use smallvec::SmallVec;

use super::families::{BundleFamilies, Version};
use crate::observe::latency::LatencyHistogram;

/// The handles for one bundle's messages: looked up once at load, not per message.
pub struct BundleMetrics {
    families: Arc<BundleFamilies>,
    version: Version,
    ok: Counter,
    no_result: Counter,
    lane_wait_seconds: Histogram,
    batch_wait_seconds: Histogram,
    step_seconds: SmallVec<[(Stage, Histogram); 3]>,
    batch_messages: Histogram,
    model_stage: Stage,
    /// From arrival to result.
    pub whole: LatencyHistogram,
    pub lane_wait: LatencyHistogram,
    /// On a lane, while the other messages of the batch were prepared.
    pub batch_wait: LatencyHistogram,
    pub model: LatencyHistogram,
    runs: AtomicU64,
    run_messages: AtomicU64,
}

impl BundleMetrics {
    pub(super) fn new(families: &Arc<BundleFamilies>, version: Version, plan: &Plan) -> Self {
        let outcome = |outcome| families.messages.get_or_create_owned(&version.outcome(outcome));
        let wait = |wait| families.waits.get_or_create_owned(&version.wait(wait));
        let step = |(stage, name)| (stage, families.steps.get_or_create_owned(&version.step(name)));
        Self {
            ok: outcome(inferbus_pipeline::outcome::OK),
            no_result: outcome(inferbus_pipeline::outcome::NO_RESULT),
            lane_wait_seconds: wait("lane"),
            batch_wait_seconds: wait("batch"),
            step_seconds: plan.steps().map(step).collect(),
            batch_messages: families.batches.get_or_create_owned(&version.labels()),
            model_stage: plan.model(),
            whole: LatencyHistogram::default(),
            lane_wait: LatencyHistogram::default(),
            batch_wait: LatencyHistogram::default(),
            model: LatencyHistogram::default(),
            runs: AtomicU64::new(0),
            run_messages: AtomicU64::new(0),
            families: families.clone(),
            version,
        }
    }

    pub fn succeeded(&self, has_output: bool, emits: usize, times: &MessageTimes, whole: Duration) {
        let outcome = if has_output { &self.ok } else { &self.no_result };
        outcome.inc();
        self.families.emits.inc_by(emits as u64);
        self.count(times, whole);
    }

    pub fn failed(&self, verdict: Verdict, text: &str, times: &MessageTimes, whole: Duration) {
        self.families.failed(&self.version, verdict.label);
        self.families.totals.error(verdict.code, text);
        self.count(times, whole);
    }

    fn count(&self, times: &MessageTimes, whole: Duration) {
        let observe = |histogram: &Histogram, time: Duration| {
            if !time.is_zero() {
                histogram.observe(time.as_secs_f64());
            }
        };
        observe(&self.lane_wait_seconds, times.lane_wait);
        observe(&self.batch_wait_seconds, times.batch_wait);
        for (stage, histogram) in &self.step_seconds {
            observe(histogram, times.step(*stage));
        }
        self.whole.observe(whole);
        self.lane_wait.observe(times.lane_wait);
        self.model.observe(times.step(self.model_stage));
        if !times.batch_wait.is_zero() {
            self.batch_wait.observe(times.batch_wait);
        }
        let totals = &self.families.totals;
        totals.requests.fetch_add(1, Ordering::Relaxed);
        totals.nanoseconds.fetch_add(u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The model ran once, for this number of messages.
    pub fn model_ran(&self, messages: usize) {
        self.batch_messages.observe(messages as f64);
        self.runs.fetch_add(1, Ordering::Relaxed);
        self.run_messages.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// The mean number of messages in one run.
    pub fn messages_per_run(&self) -> Option<f64> {
        let (runs, messages) = (self.runs.load(Ordering::Relaxed), self.run_messages.load(Ordering::Relaxed));
        (runs > 0).then(|| messages as f64 / runs as f64)
    }
}

impl Drop for BundleMetrics {
    fn drop(&mut self) {
        self.families.release(&self.version, Instant::now());
    }
}
