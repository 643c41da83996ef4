//! The last hand on bundles that are out of service, and on what loading leaves behind.
//!
//! Promises: a bundle is taken apart here, on a thread that may block, and not on the thread that happened to send its
//! last reply: giving back a large model's memory would hold up every message.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use inferbus_engine::give_back_memory;

use crate::bundle::Bundle;

#[derive(Default)]
pub struct Retired {
    bundles: Mutex<Vec<Arc<Bundle>>>,
    /// Something was taken apart or loaded since memory was last given back.
    freed: AtomicBool,
}

impl Retired {
    pub fn add(&self, bundle: Arc<Bundle>) {
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
                drop(dead);
                retired.freed.store(true, Ordering::Relaxed);
            });
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
