//! The waiting room: a request for an unloaded model waits here for the load.
//!
//! Guarantees: a waiting request keeps its place and its bytes, so the room is bounded by the messages in flight. A
//! model is requested once for all waiting requests, and they leave in the order of arrival.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use inferbus_catalog::ModelName;

use crate::lanes::ticket::Request;
use crate::limits;

/// A request with a wait for its model.
pub struct Waiting {
    pub payload: Bytes,
    pub request: Request,
    /// The sender discards a later result.
    pub deadline: Option<Instant>,
    pub urgent: bool,
}

/// The reason against waiting.
pub enum RoomClosed {
    Stopping,
    Full,
}

#[derive(Default)]
pub struct WaitingRoom {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<ModelName, Vec<Waiting>>,
    len: usize,
    closed: bool,
}

impl WaitingRoom {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change completes without a panic, so a poisoned lock still holds a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether the request is the first for its model; the caller then requests the load. A closed room or a
    /// room with `max` requests returns the request.
    #[expect(clippy::result_large_err, reason = "it is moved once, to the reply")]
    pub fn enter(&self, model: ModelName, waiting: Waiting, max: usize) -> Result<bool, (Waiting, RoomClosed)> {
        let mut state = self.state();
        if state.closed {
            return Err((waiting, RoomClosed::Stopping));
        }
        if state.len >= max {
            return Err((waiting, RoomClosed::Full));
        }
        state.len += 1;
        let others = state.waiting.entry(model).or_default();
        others.push(waiting);
        Ok(others.len() == 1)
    }

    /// Removes all requests for a model.
    pub fn leave(&self, model: &ModelName) -> Vec<Waiting> {
        let mut state = self.state();
        let left = state.waiting.remove(model).unwrap_or_default();
        state.len -= left.len();
        left
    }

    /// Removes requests after the longest wait or their deadline.
    pub fn overdue(&self) -> Vec<(ModelName, Waiting)> {
        let now = Instant::now();
        let is_late = |waiting: &mut Waiting| {
            let too_long = now.duration_since(waiting.request.received) >= limits::LOAD;
            too_long || waiting.deadline.is_some_and(|deadline| deadline <= now)
        };
        let mut state = self.state();
        let late = state.waiting.iter_mut().flat_map(|(model, waiting)| {
            waiting.extract_if(.., is_late).map(|waiting| (model.clone(), waiting)).collect::<Vec<_>>()
        });
        let late: Vec<_> = late.collect();
        state.len -= late.len();
        state.waiting.retain(|_, waiting| !waiting.is_empty());
        late
    }

    pub fn close(&self) -> Vec<Waiting> {
        let mut state = self.state();
        (state.closed, state.len) = (true, 0);
        std::mem::take(&mut state.waiting).into_values().flatten().collect()
    }
}
