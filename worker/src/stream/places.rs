//! Room for stream messages: places and bytes, reserved before they are asked for.
//!
//! Promises: what was asked of the server has its place already, so nothing that arrives is ever without one.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// The room that all streams' routes of a worker share.
#[derive(Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    freed: Arc<Notify>,
}

/// Room for what was asked for and has not arrived.
pub struct Reserve {
    places: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

/// One message's room.
pub struct Place {
    places: Option<OwnedSemaphorePermit>,
    bytes: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever waits for room looks only after it is there.
        drop((self.places.take(), self.bytes.take()));
        self.freed.notify_waiters();
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits::STREAM_PLACES)),
            bytes: Arc::new(Semaphore::new(limits::STREAM_BYTES / limits::BYTES_PER_PERMIT)),
            freed: Arc::default(),
        }
    }
}

impl Room {
    /// Reserves at most `messages` places and at most `bytes`; nothing if there is not room for one message of `least` bytes.
    pub fn reserve(&self, messages: usize, least: usize, bytes: usize) -> Option<Reserve> {
        let messages = messages.min(self.places.available_permits());
        let wanted = permits(bytes).min(self.bytes.available_permits());
        if messages == 0 || wanted < permits(least) {
            return None;
        }
        let places = self.places.clone().try_acquire_many_owned(u32::try_from(messages).ok()?).ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()?;
        Some(Reserve { places, bytes })
    }

    /// Waits until somebody gives room back.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Waits until every place is free.
    pub async fn emptied(&self) {
        // A closed semaphore cannot happen here, and would mean that nothing is in hand.
        let _ = self.places.acquire_many(u32::try_from(limits::STREAM_PLACES).unwrap_or(u32::MAX)).await;
    }

    /// Room for a message that nobody had reserved any for.
    pub fn one(&self, len: usize) -> Option<Place> {
        let places = self.places.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(u32::try_from(permits(len)).ok()?).ok()?;
        Some(self.place(places, bytes))
    }

    fn place(&self, places: OwnedSemaphorePermit, bytes: OwnedSemaphorePermit) -> Place {
        Place { places: Some(places), bytes: Some(bytes), freed: self.freed.clone() }
    }
}

impl Reserve {
    pub fn messages(&self) -> usize {
        self.places.num_permits()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.num_permits() * limits::BYTES_PER_PERMIT
    }

    /// The room for one message that has arrived.
    pub fn take(&mut self, room: &Room, len: usize) -> Option<Place> {
        match (self.places.split(1), self.bytes.split(permits(len))) {
            (Some(places), Some(bytes)) => Some(room.place(places, bytes)),
            _ => room.one(len),
        }
    }
}

fn permits(bytes: usize) -> usize {
    bytes.div_ceil(limits::BYTES_PER_PERMIT)
}
