//! A map between threads: at most one pending value per model, and a notification.
//!
//! Guarantees: no value is lost, but a new value of a model replaces its pending one. A map holds at most one value per
//! model.

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
        // Each update is complete in itself, so a panic of another holder leaves consistent data.
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
