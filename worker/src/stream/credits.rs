//! Credits for stored messages: places and bytes, reserved before messages are requested from the server.
//!
//! Guarantees: every requested message has its place and bytes before it arrives.

use std::sync::Arc;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::limits;

/// The credits shared by all stream routes of a worker.
#[derive(Clone)]
pub struct Credits {
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    freed: Arc<Notify>,
}

/// Credits of requested messages before their arrival.
pub struct Reservation {
    places: OwnedSemaphorePermit,
    bytes: OwnedSemaphorePermit,
}

/// One message's credits; dropping it returns them.
pub struct StreamPlace {
    places: Option<OwnedSemaphorePermit>,
    bytes: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        // Waiters check for credits only after their return.
        drop((self.places.take(), self.bytes.take()));
        self.freed.notify_waiters();
    }
}

impl Default for Credits {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(limits::STREAM_PLACES)),
            bytes: Arc::new(Semaphore::new(limits::STREAM_BYTES / limits::BYTES_PER_PERMIT)),
            freed: Arc::default(),
        }
    }
}

impl Credits {
    /// Reserves at most `messages` places and `bytes`; `None` if one message of `least` bytes does not fit.
    pub fn reserve(&self, messages: usize, least: usize, bytes: usize) -> Option<Reservation> {
        let messages = messages.min(self.places.available_permits());
        let wanted = permits(bytes).min(self.bytes.available_permits());
        if messages == 0 || wanted < permits(least) {
            return None;
        }
        let places = self.places.clone().try_acquire_many_owned(u32::try_from(messages).ok()?).ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()?;
        Some(Reservation { places, bytes })
    }

    /// Waits until credits are returned.
    pub async fn freed(&self) {
        self.freed.notified().await;
    }

    /// Waits until every place is free.
    pub async fn drained(&self) {
        // The semaphore is never closed. An error would mean zero messages in flight.
        let _ = self.places.acquire_many(u32::try_from(limits::STREAM_PLACES).unwrap_or(u32::MAX)).await;
    }

    /// Credits for a message without a reservation.
    pub fn one(&self, len: usize) -> Option<StreamPlace> {
        let places = self.places.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(u32::try_from(permits(len)).ok()?).ok()?;
        Some(self.place(places, bytes))
    }

    fn place(&self, places: OwnedSemaphorePermit, bytes: OwnedSemaphorePermit) -> StreamPlace {
        StreamPlace { places: Some(places), bytes: Some(bytes), freed: self.freed.clone() }
    }
}

impl Reservation {
    pub fn messages(&self) -> usize {
        self.places.num_permits()
    }

    pub fn bytes(&self) -> usize {
        self.bytes.num_permits() * limits::BYTES_PER_PERMIT
    }

    /// The credits of one arrived message.
    pub fn take(&mut self, credits: &Credits, len: usize) -> Option<StreamPlace> {
        match (self.places.split(1), self.bytes.split(permits(len))) {
            (Some(places), Some(bytes)) => Some(credits.place(places, bytes)),
            _ => credits.one(len),
        }
    }
}

fn permits(bytes: usize) -> usize {
    bytes.div_ceil(limits::BYTES_PER_PERMIT)
}
