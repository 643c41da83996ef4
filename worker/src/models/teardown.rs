//! The last hand on bundles that are out of service, and on what loading leaves behind.
//!
//! Promises: a bundle is taken apart here, on a thread that may block, and not on the thread that happened to send its
//! last reply: giving back a large model's memory would hold up every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inferbus_engine::give_back_memory;

use crate::limits;
use crate::models::budget::Budget;
use crate::models::bundle::Bundle;

pub struct Retired {
    budget: Arc<Budget>,
    bundles: Mutex<Vec<Arc<Bundle>>>,
    /// Something was taken apart or loaded since memory was last given back.
    freed: AtomicBool,
}

impl Retired {
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
    pub fn bury(self: &Arc<Self>) {
        let dead: Vec<Arc<Bundle>> = {
            let mut bundles = self.bundles.lock().unwrap_or_else(PoisonError::into_inner);
            bundles.extract_if(.., |bundle| Arc::strong_count(bundle) == 1).collect()
        };
        if !dead.is_empty() {
            let retired = self.clone();
            tokio::task::spawn_blocking(move || {
                let bytes = dead.iter().map(|bundle| bundle.memory).sum();
                drop(dead);
                retired.budget.gone(bytes);
                retired.freed.store(true, Ordering::Relaxed);
            });
        }
    }

    /// Waits until what is out of service has left enough memory for what is reserved.
    pub async fn vacated(self: &Arc<Self>) {
        self.bury();
        while !self.budget.is_vacant() {
            tokio::time::sleep(limits::VACANCY_LOOK).await;
            self.bury();
        }
    }

    /// [`Retired::bury`], and gives the system what is free by now: the allocator keeps it otherwise.
    pub fn bury_and_give_back(self: &Arc<Self>) {
        self.bury();
        if self.freed.swap(false, Ordering::Relaxed) {
            tokio::task::spawn_blocking(give_back_memory);
        }
    }
}
