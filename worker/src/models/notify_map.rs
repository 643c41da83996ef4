//! A map between threads: at most one pending value per model, and a notification.
//!
//! Guarantees: a value that was put is taken, and values of one model that were not taken yet are one. A map never holds
//! more values than there are models.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use inferbus_catalog::ModelName;
use tokio::sync::Notify;

pub struct NotifyMap<T> {
    pending: Mutex<BTreeMap<ModelName, T>>,
    notify: Notify,
}

impl<T> Default for NotifyMap<T> {
    fn default() -> Self {
        Self { pending: Mutex::default(), notify: Notify::new() }
    }
}

impl<T> NotifyMap<T> {
    fn pending(&self) -> MutexGuard<'_, BTreeMap<ModelName, T>> {
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, model: ModelName, value: T) {
        self.pending().insert(model, value);
        self.notify.notify_one();
    }

    /// Waits for pending values, and takes all of them. A cancelled wait loses nothing.
    pub async fn take(&self) -> BTreeMap<ModelName, T> {
        loop {
            let notified = self.notify.notified();
            let pending = mem::take(&mut *self.pending());
            if !pending.is_empty() {
                return pending;
            }
            notified.await;
        }
    }
}
