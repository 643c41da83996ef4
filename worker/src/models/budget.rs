//! The memory budget of all models, and the evictions for a load.
//!
//! Guarantees: reservations never exceed the budget, because each load reserves before it begins. A loaded bundle
//! counts with the memory of its trial. An evicted bundle counts until its last message is done, and a load waits for
//! its memory. During a swap both versions of a model are in memory. A pinned model is never evicted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use inferbus_catalog::{ByteSize, Entry, ModelName};
use tokio::sync::Notify;

use crate::limits;

/// The reason for a rejected reservation.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoRoom {
    #[error(
        "it takes about {} MiB, and the limit for all models is {limit}: raise --memory-budget",
        mebibytes(*needs)
    )]
    TooLarge { needs: u64, limit: ByteSize },
    #[error(
        "it takes about {} MiB, but other models use {} MiB of the limit of {limit} and cannot be evicted now: \
         pin fewer models, or raise --memory-budget",
        mebibytes(*needs), mebibytes(*held)
    )]
    Taken { needs: u64, held: u64, limit: ByteSize },
    #[error("{most} models are loaded, the most for this worker, and none can be evicted now: add a worker")]
    TooMany { most: usize },
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

impl NoRoom {
    /// Whether a retry may succeed.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::TooLarge { .. })
    }
}

pub struct Budget {
    limit: ByteSize,
    /// The largest number of models.
    most: usize,
    pinned: BTreeSet<ModelName>,
    held: Mutex<BTreeMap<ModelName, Held>>,
    /// Bytes of bundles out of service but still in memory.
    leaving: AtomicU64,
    /// Notified at the end of a load and when memory is freed.
    ended: Notify,
}

#[derive(Clone, Copy)]
struct Held {
    bytes: u64,
    /// A loading model cannot be evicted.
    loading: bool,
}

/// The reservation of a loading bundle. Its drop restores the earlier state unless it was kept.
pub struct Lease {
    budget: Arc<Budget>,
    model: ModelName,
    before: Option<Held>,
    bytes: u64,
    kept: bool,
}

impl Budget {
    pub fn new(limit: ByteSize, most: usize, pinned: BTreeSet<ModelName>) -> Self {
        Self { limit, most, pinned, held: Mutex::default(), leaving: AtomicU64::new(0), ended: Notify::new() }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<ModelName, Held>> {
        // Each update is complete in itself, so a panic of another holder leaves consistent data.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn limit(&self) -> ByteSize {
        self.limit
    }

    pub fn pinned(&self) -> &BTreeSet<ModelName> {
        &self.pinned
    }

    /// Reserves memory for a model and returns the models to evict, chosen from `by_use` in order. The caller must take
    /// them out of service.
    pub fn reserve(
        self: &Arc<Self>,
        model: &ModelName,
        bytes: u64,
        by_use: impl IntoIterator<Item = ModelName>,
    ) -> Result<(Lease, Vec<ModelName>), NoRoom> {
        let limit = self.limit.bytes() as u64;
        if bytes > limit {
            return Err(NoRoom::TooLarge { needs: bytes, limit: self.limit });
        }
        let mut held = self.held();
        let others = held.iter().filter(|(other, _)| *other != model);
        let (mut sum, mut count) = others.fold((0, 0), |(sum, count), (_, held)| (sum + held.bytes, count + 1));
        let mut making_room = Vec::new();
        let mut by_use = by_use.into_iter();
        while sum + bytes > limit || count >= self.most {
            let Some(other) = by_use.next() else {
                let too_many = count >= self.most;
                let taken = NoRoom::Taken { needs: bytes, held: sum, limit: self.limit };
                return Err(if too_many { NoRoom::TooMany { most: self.most } } else { taken });
            };
            if let Some(of_other) = held.get(&other).filter(|held| !held.loading)
                && other != *model
                && !self.pinned.contains(&other)
            {
                (sum, count) = (sum - of_other.bytes, count - 1);
                making_room.push(other);
            }
        }
        held.retain(|other, _| !making_room.contains(other));
        let before = held.insert(model.clone(), Held { bytes, loading: true });
        drop(held);
        Ok((Lease { budget: self.clone(), model: model.clone(), before, bytes, kept: false }, making_room))
    }

    /// [`Budget::reserve`], but waits while other models load or cannot be evicted yet.
    pub async fn reserve_in_turn(
        self: &Arc<Self>,
        model: &ModelName,
        bytes: u64,
        by_use: impl Fn() -> ByUse,
    ) -> Result<(Lease, Vec<ModelName>), NoRoom> {
        loop {
            let ended = self.ended.notified();
            let ByUse { models, stays } = by_use();
            let reserved = self.reserve(model, bytes, models);
            let others_load = || self.held().iter().any(|(other, held)| held.loading && other != model);
            match (reserved, stays) {
                (Err(fault), Some(stays)) if fault.is_transient() => {
                    // The next attempt decides, after a timeout too.
                    let _ = tokio::time::timeout(stays, ended).await;
                }
                (Err(fault), None) if fault.is_transient() && others_load() => ended.await,
                (reserved, _) => return reserved,
            }
        }
    }

    /// Counts a bundle out of service until [`Budget::gone`].
    pub fn leaves(&self, bytes: u64) {
        self.leaving.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn gone(&self, bytes: u64) {
        self.leaving.fetch_sub(bytes, Ordering::Relaxed);
        self.ended.notify_waiters();
    }

    /// Whether all reservations fit beside the bundles still leaving.
    pub fn has_room_for_reserved(&self) -> bool {
        let held: u64 = self.held().values().map(|held| held.bytes).sum();
        let leaving = self.leaving.load(Ordering::Relaxed);
        leaving == 0 || held.saturating_add(leaving) <= self.limit.bytes() as u64
    }

    /// Removes a model without a version in service.
    pub fn release(&self, model: &ModelName) {
        self.held().remove(model);
    }
}

impl Lease {
    /// Keeps the reservation for a serving bundle of this size.
    pub fn keep(mut self, bytes: u64) {
        (self.kept, self.bytes) = (true, bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.budget.held();
        let after = if self.kept { Some(Held { bytes: self.bytes, loading: false }) } else { self.before };
        match after {
            Some(after) => held.insert(self.model.clone(), after),
            None => held.remove(&self.model),
        };
        drop(held);
        self.budget.ended.notify_waiters();
    }
}

/// The candidates for an eviction.
pub struct ByUse {
    /// Models evictable now, the least recently used first.
    pub models: Vec<ModelName>,
    /// The time until one more model is evictable.
    pub stays: Option<Duration>,
}

/// The estimated memory of a bundle during its load, from the sizes in its entry alone.
pub fn estimate(entry: &Entry) -> u64 {
    around(entry).saturating_add(entry.model.size.saturating_mul(limits::MODEL_FACTOR))
}

/// The memory of a loaded bundle, from its trial's memory for one session.
pub fn measured(entry: &Entry, memory: u64, sessions: u64) -> u64 {
    // BUNDLE_BYTES already contains the fixed cost of a session.
    let of_model = memory.saturating_sub(limits::BUNDLE_BYTES).max(entry.model.size);
    around(entry).saturating_add(of_model.saturating_mul(sessions))
}

fn around(entry: &Entry) -> u64 {
    let plugins = entry.pre.iter().chain(&entry.post).map(|plugin| plugin.size);
    plugins.fold(limits::BUNDLE_BYTES, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<ModelName> {
        names.iter().map(|name| name.parse().expect("a name")).collect()
    }

    fn budget(bytes: u64, most: usize, pinned: &[&str]) -> Arc<Budget> {
        Arc::new(Budget::new(ByteSize::new(bytes), most, names(pinned).into_iter().collect()))
    }

    fn load(budget: &Arc<Budget>, model: &str, bytes: u64, by_use: &[&str]) -> Result<Vec<ModelName>, NoRoom> {
        let (lease, out) = budget.reserve(&names(&[model])[0], bytes, names(by_use))?;
        lease.keep(bytes);
        Ok(out)
    }

    #[test]
    fn only_as_many_of_the_least_used_as_needed_are_evicted() {
        let budget = budget(100, 10, &[]);
        for model in ["a", "b", "c"] {
            assert_eq!(load(&budget, model, 30, &[]), Ok(vec![]));
        }
        assert_eq!(load(&budget, "d", 40, &["b", "a", "c"]), Ok(names(&["b"])));
        assert_eq!(load(&budget, "e", 60, &["a", "c", "d"]), Ok(names(&["a", "c"])));
    }

    #[test]
    fn pinned_and_loading_models_are_not_evicted() {
        let budget = budget(100, 10, &["a"]);
        assert_eq!(load(&budget, "a", 50, &[]), Ok(vec![]));
        let (lease, _) = budget.reserve(&names(&["b"])[0], 40, []).expect("room");
        let taken = NoRoom::Taken { needs: 20, held: 90, limit: ByteSize::new(100) };
        assert_eq!(load(&budget, "c", 20, &["a", "b"]), Err(taken));
        drop(lease);
        assert_eq!(load(&budget, "c", 20, &["a", "b"]), Ok(vec![]), "a failed load releases its reservation");
    }

    #[test]
    fn a_new_version_takes_the_room_of_the_old_one_and_gives_it_back_if_it_fails() {
        let budget = budget(100, 10, &[]);
        load(&budget, "a", 60, &[]).expect("room");
        let (lease, out) = budget.reserve(&names(&["a"])[0], 80, names(&["a"])).expect("room");
        assert!(out.is_empty());
        drop(lease);
        assert_eq!(load(&budget, "b", 41, &[]).map_err(|fault| fault.is_transient()), Err(true));
        assert_eq!(load(&budget, "b", 40, &[]), Ok(vec![]));
        assert_eq!(load(&budget, "b", 101, &["a"]).map_err(|fault| fault.is_transient()), Err(false));
    }

    #[test]
    fn models_are_counted_too() {
        let budget = budget(100, 2, &[]);
        load(&budget, "a", 1, &[]).expect("room");
        load(&budget, "b", 1, &[]).expect("room");
        assert_eq!(load(&budget, "c", 1, &[]), Err(NoRoom::TooMany { most: 2 }));
        assert_eq!(load(&budget, "c", 1, &["b", "a"]), Ok(names(&["b"])));
        budget.release(&names(&["a"])[0]);
        assert_eq!(load(&budget, "d", 1, &[]), Ok(vec![]));
    }

    #[test]
    fn a_leaving_bundle_counts_until_it_is_gone() {
        let budget = budget(100, 10, &[]);
        load(&budget, "a", 60, &[]).expect("room");
        assert_eq!(load(&budget, "b", 60, &["a"]), Ok(names(&["a"])));
        budget.leaves(60);
        assert!(!budget.has_room_for_reserved());
        budget.gone(60);
        assert!(budget.has_room_for_reserved());
    }

    #[test]
    fn a_loaded_model_counts_with_its_measured_memory() {
        let budget = budget(100, 10, &[]);
        let (lease, _) = budget.reserve(&names(&["a"])[0], 90, []).expect("room");
        assert_eq!(load(&budget, "b", 20, &[]).map_err(|fault| fault.is_transient()), Err(true));
        lease.keep(30);
        assert_eq!(load(&budget, "b", 70, &[]), Ok(vec![]));
    }

    #[tokio::test]
    async fn a_load_waits_only_for_a_model_that_becomes_evictable() {
        let budget = budget(100, 10, &[]);
        load(&budget, "a", 100, &[]).expect("room");
        let looks = std::cell::Cell::new(0);
        let by_use = || {
            looks.set(looks.get() + 1);
            match looks.get() {
                1 => ByUse { models: Vec::new(), stays: Some(Duration::from_millis(1)) },
                _ => ByUse { models: names(&["a"]), stays: None },
            }
        };
        let (_, out) = budget.reserve_in_turn(&names(&["b"])[0], 50, by_use).await.expect("room");
        assert_eq!((out, looks.get()), (names(&["a"]), 2));
        let none = || ByUse { models: Vec::new(), stays: None };
        assert!(budget.reserve_in_turn(&names(&["c"])[0], 101, none).await.is_err(), "it never fits");
    }
}
