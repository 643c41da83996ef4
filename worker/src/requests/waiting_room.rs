//! The waiting room: a request for a model that is not loaded waits here until it is.
//!
//! Promises: a request keeps its place and its bytes while it waits, so that what waits is bounded by what may be
//! in hand. A model is asked for once, however many wait for it, and they go on in the order in which they
//! came. Each leaves the room: to a lane, or with the reason why not.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use inferbus_catalog::ModelName;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::outcome::Refusal;
use crate::requests::admission::{Asked, Bus};
use crate::requests::reply;

/// A request that waits for its model.
pub struct Waiting {
    pub payload: Bytes,
    pub asked: Asked,
    /// Nobody wants its result later than this.
    pub deadline: Option<Instant>,
    pub urgent: bool,
}

/// Why a request cannot wait.
pub enum Shut {
    Closed,
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
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says whether it is the first for its model, which must then be asked for. A closed room gives it back, and so does
    /// one that has `most` waiting: the other places are for models that are there.
    #[expect(clippy::result_large_err, reason = "it is moved once, to whoever answers")]
    pub fn enter(&self, model: ModelName, waiting: Waiting, most: usize) -> Result<bool, (Waiting, Shut)> {
        let mut state = self.state();
        if state.closed {
            return Err((waiting, Shut::Closed));
        }
        if state.len >= most {
            return Err((waiting, Shut::Full));
        }
        state.len += 1;
        let others = state.waiting.entry(model).or_default();
        others.push(waiting);
        Ok(others.len() == 1)
    }

    fn leave(&self, model: &ModelName) -> Vec<Waiting> {
        let mut state = self.state();
        let left = state.waiting.remove(model).unwrap_or_default();
        state.len -= left.len();
        left
    }

    fn overdue(&self) -> Vec<(ModelName, Waiting)> {
        let now = Instant::now();
        let is_late = |waiting: &mut Waiting| {
            let too_long = now.duration_since(waiting.asked.received) >= limits::LOAD;
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

    fn close(&self) -> Vec<Waiting> {
        let mut state = self.state();
        (state.closed, state.len) = (true, 0);
        std::mem::take(&mut state.waiting).into_values().flatten().collect()
    }
}

/// Lets requests go on when their models have been looked at, until told to stop.
pub async fn run(bus: Arc<Bus>, stop: CancellationToken) {
    let mut look_around = tokio::time::interval(limits::LOOK_AROUND);
    loop {
        tokio::select! {
            settled = bus.registry.settled.take() => for (model, bundle) in settled {
                for waiting in bus.waiting.leave(&model) {
                    bus.waited(&model, bundle.clone(), waiting).await;
                }
            },
            _ = look_around.tick() => for (model, waiting) in bus.waiting.overdue() {
                let why = format!("it was not loaded within {} s", limits::LOAD.as_secs());
                let model = model.to_string();
                let refusal = match waiting.deadline {
                    Some(deadline) if deadline <= Instant::now() => Refusal::Late { model },
                    _ => Refusal::NotLoaded { model, why },
                };
                refuse(&bus, waiting, refusal).await;
            },
            () = stop.cancelled() => break,
        }
    }
    for waiting in bus.waiting.close() {
        refuse(&bus, waiting, Refusal::Stopping).await;
    }
}

async fn refuse(bus: &Bus, waiting: Waiting, refusal: Refusal) {
    reply::refusal(&bus.client, &bus.metrics, waiting.asked.into(), &refusal).await;
}
