//! A loaded bundle: all parts of a serving model version, owned by one `Arc`.
//!
//! Guarantees: a bundle is complete before any reader sees it. It was compiled, has sessions for every lane and was
//! warmed up. Dropping the last `Arc` frees all of it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use bytes::Bytes;
use inferbus_engine::{NoStack, Signature};
use inferbus_pipeline::batch::BatchPolicy;
use inferbus_pipeline::{Done, Encoding, Failure, FailureCause, Identity, Parts, Plan, Refusal};

use crate::limits;
use crate::nats::headers;
use crate::observe::metrics::{BundleMetrics, Metrics, Weight};
use crate::observe::plugin_log::LogGate;

pub struct Bundle {
    pub identity: Identity,
    /// The steps of every message.
    pub plan: Plan,
    pub metrics: BundleMetrics,
    pub log_gate: LogGate,
    pub signature: Signature,
    /// The reset strategy of each plugin, by step.
    pub strategies: Vec<(&'static str, String)>,
    /// The identity headers of every reply and result.
    pub headers: HeaderMap,
    pub batch: BatchPolicy,
    /// The reason why messages run individually although the entry allows batches.
    pub unbatched: Option<NoStack>,
    /// The estimated memory of the whole bundle, in bytes.
    pub memory: u64,
    lanes: Vec<Mutex<Parts>>,
    /// Turns running on lanes.
    turns: AtomicUsize,
    loaded: Instant,
    /// The arrival of the last message, in microseconds since the first bundle was loaded.
    used: AtomicU64,
    _weight: Weight,
}

/// The loader's results for a new bundle.
pub(super) struct Loaded {
    pub identity: Identity,
    pub plan: Plan,
    pub signature: Signature,
    pub strategies: Vec<(&'static str, String)>,
    pub log_gate: LogGate,
    pub batch: Result<BatchPolicy, NoStack>,
    pub memory: u64,
    pub lanes: Vec<Mutex<Parts>>,
}

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now() -> u64 {
    u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX)
}

impl Bundle {
    pub(super) fn new(loaded: Loaded, metrics: &Arc<Metrics>) -> Self {
        let Loaded { identity, plan, signature, strategies, log_gate, batch, memory, lanes } = loaded;
        Self {
            metrics: metrics.bundle(&identity, &plan),
            headers: headers::of_identity(&identity),
            batch: batch.clone().unwrap_or(BatchPolicy::SINGLE),
            unbatched: batch.err(),
            turns: AtomicUsize::new(0),
            loaded: Instant::now(),
            used: AtomicU64::new(now()),
            _weight: metrics.weight(memory),
            identity,
            plan,
            signature,
            strategies,
            log_gate,
            memory,
            lanes,
        }
    }

    /// Without a pre plugin the payload itself must be tensors.
    pub fn takes_tensors(&self) -> bool {
        self.plan.pre().is_none()
    }

    /// Without a post plugin the result is tensors.
    pub fn gives_tensors(&self) -> bool {
        self.plan.post().is_none()
    }

    /// Checks a message's length and headers, and returns the encoding of its tensors. An admitted message counts as
    /// use.
    pub fn admits(&self, len: usize, headers: Option<&HeaderMap>) -> Result<Encoding, Refusal> {
        if len > limits::PAYLOAD {
            let Identity { model, version, .. } = self.identity.clone();
            return Err(Refusal::TooLarge { model, version, len, limit: limits::PAYLOAD });
        }
        let encoding = if self.takes_tensors() { headers::encoding(&self.identity, headers)? } else { Encoding::Frame };
        self.touch();
        Ok(encoding)
    }

    /// Rejects a result larger than the server's max_payload, before any part of it is published.
    pub fn fits_server(&self, max_payload: usize, done: Done) -> Result<Done, Failure> {
        let limit = max_payload.saturating_sub(limits::HEADER_ROOM);
        let emits = done.emits.iter().map(|emit| emit.payload.len());
        match emits.chain(done.output.as_ref().map(Bytes::len)).max() {
            Some(len) if len > limit => Err(FailureCause::Unpublishable { len, limit }.at(self.plan.last())),
            _ => Ok(done),
        }
    }

    /// Records the arrival of a message.
    pub fn touch(&self) {
        self.used.store(now(), Ordering::Relaxed);
    }

    /// The larger, the later the last message came.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn idle(&self) -> Duration {
        Duration::from_micros(now().saturating_sub(self.used()))
    }

    /// The time until the bundle is evictable with messages in flight.
    pub fn stays(&self) -> Duration {
        limits::RESIDENCE.saturating_sub(self.loaded.elapsed())
    }

    /// Whether there are parts for one more turn.
    pub fn may_start_turn(&self) -> bool {
        self.turns.load(Ordering::Relaxed) < self.lanes.len()
    }

    pub fn start_turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a turn. Returns whether other turns may have waited for it.
    pub fn end_turn(&self) -> bool {
        self.turns.fetch_sub(1, Ordering::Relaxed) >= self.lanes.len()
    }

    /// Parts for one lane: its own, or free parts of another if the entry requests fewer sessions than lanes. Free
    /// parts exist, because at most as many turns begin as there are parts.
    pub fn parts(&self, lane: usize) -> MutexGuard<'_, Parts> {
        // A panic while the parts were held is answered like a trap; the parts rewind for the next call.
        let own = lane % self.lanes.len();
        let (before, from) = self.lanes.split_at(own);
        let free = from.iter().chain(before).find_map(|parts| match parts.try_lock() {
            Ok(parts) => Some(parts),
            Err(TryLockError::Poisoned(parts)) => Some(parts.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        });
        free.unwrap_or_else(|| self.lanes[own].lock().unwrap_or_else(PoisonError::into_inner))
    }
}
