//! Word from one thread to another: at most one letter per model, and a bell.
//!
//! Promises: a letter that was put is taken, and letters of one model that nobody has taken yet are one. So a
//! mailbox never holds more than there are models, however often it is written to.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};

use inferbus_catalog::ModelName;
use tokio::sync::Notify;

pub struct Mailbox<T> {
    letters: Mutex<BTreeMap<ModelName, T>>,
    bell: Notify,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { letters: Mutex::default(), bell: Notify::new() }
    }
}

impl<T> Mailbox<T> {
    fn letters(&self) -> MutexGuard<'_, BTreeMap<ModelName, T>> {
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn put(&self, model: ModelName, letter: T) {
        self.letters().insert(model, letter);
        self.bell.notify_one();
    }

    /// Waits until there is something, and takes all of it. Nothing is lost if the wait is given up.
    pub async fn take(&self) -> BTreeMap<ModelName, T> {
        loop {
            let rung = self.bell.notified();
            let letters = mem::take(&mut *self.letters());
            if !letters.is_empty() {
                return letters;
            }
            rung.await;
        }
    }
}
