//! The last hand on bundles that are out of service, and on what loading leaves behind.
//!
//! Promises: a bundle is taken apart here, on a thread that may block, and not on the thread that happened to send its
//! last reply: giving back a large model's memory would hold up every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inferbus_engine::give_back_memory;

use super::budget::Budget;
use super::bundle::Bundle;
use crate::limits;

pub struct Teardown {
    budget: Arc<Budget>,
    bundles: Mutex<Vec<Arc<Bundle>>>,
    /// Something was taken apart or loaded since memory was last given back.
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

    /// A bundle was loaded: ONNX Runtime has freed its copies of the weights, which may be as much as the model takes.
    pub fn loaded(&self) {
        self.freed.store(true, Ordering::Relaxed);
    }

    /// Takes apart what nobody else holds any more.
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

    /// Waits until what is out of service has left enough memory for what is reserved.
    pub async fn room_available(self: &Arc<Self>) {
        self.drop_unused();
        while !self.budget.has_room_for_reserved() {
            tokio::time::sleep(limits::VACANCY_LOOK).await;
            self.drop_unused();
        }
    }

    /// [`Teardown::drop_unused`], and gives the system what is free by now: the allocator keeps it otherwise.
    pub fn drop_unused_and_trim_heap(self: &Arc<Self>) {
        self.drop_unused();
        if self.freed.swap(false, Ordering::Relaxed) {
            tokio::task::spawn_blocking(give_back_memory);
        }
    }
}
