//! Messages through the lanes, as many at once as there are lanes, and each to its end.
//!
//! Promises: no more messages and bytes are in hand than `limits.rs` says, from the reading to the last confirmation.
//! Messages end in any order.

use std::sync::Arc;
use std::time::Instant;

use async_nats::HeaderMap;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{FuturesUnordered, Stream};
use tokio::sync::mpsc;
use tracing::Span;

use super::fault::OfflineFault;
use crate::job::{Done, Failure, StageTimes};
use crate::lanes::lane::{Finished, Job, Lanes};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::outcome::{self, Refusal};
use crate::requests::admission;

/// What can be run: a payload with the headers that it came with, or why there is none.
pub trait Runnable: Send + 'static {
    fn payload(&self) -> Result<Bytes, String>;
    fn headers(&self) -> &HeaderMap;
}

/// A message that was run, and what came of it.
pub struct Ran<M> {
    pub message: M,
    pub result: Result<Done, Unrun>,
    pub times: StageTimes,
}

/// Why a message has no result, in one line, and the reason's label.
#[derive(Clone, Debug)]
pub struct Unrun {
    pub label: &'static str,
    pub text: String,
}

/// Runs every message and has `settle` bring each to its end, which `ended` hears of.
pub async fn each<M: Runnable, E>(
    bundle: &Arc<Bundle>,
    lanes: usize,
    mut messages: impl Stream<Item = Result<M, OfflineFault>> + Unpin,
    settle: impl AsyncFn(Ran<M>) -> Result<E, OfflineFault>,
    mut ended: impl FnMut(E),
) -> Result<(), OfflineFault> {
    let mut running = Running::start(bundle.clone(), lanes)?;
    let mut settling = FuturesUnordered::new();
    // A message's bytes are in hand until it has ended.
    let settle = async |ran: Ran<M>| (len(&ran.message), settle(ran).await);
    let mut more = true;
    while more || running.messages > 0 || !settling.is_empty() {
        let messages_in_hand = running.messages + settling.len();
        let room = messages_in_hand < limits::OFFLINE_IN_HAND && running.bytes < limits::OFFLINE_BYTES;
        tokio::select! {
            message = messages.next(), if more && room => match message {
                Some(message) => if let Some(unrun) = running.submit(message?) {
                    settling.push(settle(unrun));
                },
                None => more = false,
            },
            Some(ran) = running.finished.recv(), if running.messages > 0 => settling.push(settle(running.take(ran))),
            Some((len, end)) = settling.next(), if !settling.is_empty() => {
                running.bytes -= len;
                ended(end?);
            }
            // A lane can be stuck in native code.
            () = tokio::time::sleep(limits::OFFLINE_SILENCE) => return Err(OfflineFault::Silent),
        }
    }
    Ok(())
}

fn len(message: &impl Runnable) -> usize {
    message.payload().map_or(0, |payload| payload.len())
}

struct Running<M> {
    bundle: Arc<Bundle>,
    lanes: Lanes<M>,
    finished: mpsc::Receiver<Finished<M>>,
    /// On a lane, or on their way to one.
    messages: usize,
    /// Of all messages that have not ended.
    bytes: usize,
}

impl<M: Runnable> Running<M> {
    fn start(bundle: Arc<Bundle>, lanes: usize) -> Result<Self, OfflineFault> {
        let (sender, finished) = mpsc::channel(limits::OFFLINE_IN_HAND);
        let lanes = Lanes::start(lanes, limits::OFFLINE_IN_HAND, &sender, None).map_err(OfflineFault::Lanes)?;
        // The last messages have nobody to wait for.
        lanes.hurry();
        Ok(Self { bundle, lanes, finished, messages: 0, bytes: 0 })
    }

    /// Hands a message to a lane; gives back one that no lane will see.
    fn submit(&mut self, message: M) -> Option<Ran<M>> {
        let unrun = |message, label, text| {
            Some(Ran { message, result: Err(Unrun { label, text }), times: StageTimes::default() })
        };
        self.bytes += len(&message);
        let payload = match message.payload() {
            Ok(payload) => payload,
            Err(why) => return unrun(message, "no_payload", why),
        };
        let wire = match admission::fits(&self.bundle, payload.len(), Some(message.headers())) {
            Ok(wire) => wire,
            Err(refusal) => {
                return unrun(message, refusal.verdict().label, outcome::header_text(&refusal.to_string()));
            }
        };
        let job = Job {
            bundle: self.bundle.clone(),
            payload,
            wire,
            name: None,
            received: Instant::now(),
            deadline: None,
            urgent: false,
            span: Span::none(),
            ticket: message,
        };
        match self.lanes.submit(job) {
            Ok(()) => {
                self.messages += 1;
                None
            }
            // The queue has a place for each message in hand.
            Err(job) => unrun(job.ticket, Refusal::Stopping.verdict().label, Refusal::Stopping.to_string()),
        }
    }

    fn take(&mut self, finished: Finished<M>) -> Ran<M> {
        let Finished { bundle, result, times, ticket: message, .. } = finished;
        self.messages -= 1;
        Ran { message, result: result.map_err(|failure| unrun(&bundle, &failure)), times }
    }
}

pub fn unrun(bundle: &Bundle, failure: &Failure) -> Unrun {
    let identity = &bundle.identity;
    let text = outcome::sentence(identity.model.as_ref(), &identity.version.to_string(), failure.stage(), failure);
    Unrun { label: failure.verdict().label, text }
}
