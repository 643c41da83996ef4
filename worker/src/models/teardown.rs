//! The teardown of bundles out of service, and the return of free memory to the system.
//!
//! Guarantees: a bundle is dropped on a blocking thread, never on the thread of its last reply. Freeing a large model's
//! memory would delay every message there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inferbus_engine::give_back_memory;

use super::budget::Budget;
use super::bundle::Bundle;
use crate::limits;

pub struct Teardown {
    budget: Arc<Budget>,
    bundles: Mutex<Vec<Arc<Bundle>>>,
    /// Memory was freed since it was last returned to the system.
    freed: AtomicBool,
}

impl Teardown {
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { budget, bundles: Mutex::default(), freed: AtomicBool::new(false) }
    }

    pub fn add(&self, bundle: Arc<Bundle>) {
        self.budget.leaves(bundle.memory);
        self.bundles.lock().unwrap_or_else(PoisonError::into_inner).push(bundle);
    }

    /// Records a load: ONNX Runtime has freed its copies of the weights, up to the size of the model.
    pub fn loaded(&self) {
        self.freed.store(true, Ordering::Relaxed);
    }

    /// Drops the bundles without another owner.
    pub fn drop_unused(self: &Arc<Self>) {
        let unused: Vec<Arc<Bundle>> = {
            let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
            bundles.extract_if(.., |bundle| Arc::strong_count(bundle) == 1).collect()
        };
        if !unused.is_empty() {
            let teardown = self.clone();
            tokio::task::spawn_blocking(move || {
                let bytes = unused.iter().map(|bundle| bundle.memory).sum();
                drop(unused);
                teardown.budget.gone(bytes);
                teardown.freed.store(true, Ordering::Relaxed);
            });
        }
    }

    /// Waits until bundles out of service have left enough memory for all reservations.
    pub async fn room_available(self: &Arc<Self>) {
        self.drop_unused();
        while !self.budget.has_room_for_reserved() {
            tokio::time::sleep(limits::VACANCY_LOOK).await;
            self.drop_unused();
        }
    }

    /// [`Teardown::drop_unused`], and returns the allocator's free memory to the system.
    pub fn drop_unused_and_trim_heap(self: &Arc<Self>) {
        self.drop_unused();
        if self.freed.swap(false, Ordering::Relaxed) {
            tokio::task::spawn_blocking(give_back_memory);
        }
    }
}
