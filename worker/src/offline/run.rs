//! Runs messages on lanes and settles each of them.
//!
//! Guarantees: messages and bytes in flight stay within `limits.rs`, from the read to the last confirmation.
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
use crate::lanes::dispatch::fits;
use crate::lanes::lane::{Finished, Job, Lanes};
use crate::limits;
use crate::models::bundle::Bundle;
use inferbus_pipeline::{Done, Failure, MessageTimes};
use inferbus_pipeline::{Refusal, outcome};

/// A message with its headers, and a payload or the reason for its absence.
pub trait Runnable: Send + 'static {
    fn payload(&self) -> Result<Bytes, String>;
    fn headers(&self) -> &HeaderMap;
}

/// A message with the result of its run.
pub struct RunOutcome<M> {
    pub message: M,
    pub result: Result<Done, RunFailure>,
    pub times: MessageTimes,
}

/// The failure of one message, as one line, with the label of its reason.
#[derive(Clone, Debug)]
pub struct RunFailure {
    pub label: &'static str,
    pub text: String,
}

/// Runs every message, settles its outcome, and passes the end to `ended`.
pub async fn run_all<M: Runnable, E>(
    bundle: &Arc<Bundle>,
    lanes: usize,
    mut messages: impl Stream<Item = Result<M, OfflineFault>> + Unpin,
    settle: impl AsyncFn(RunOutcome<M>) -> Result<E, OfflineFault>,
    mut ended: impl FnMut(E),
) -> Result<(), OfflineFault> {
    let mut running = Running::start(bundle.clone(), lanes)?;
    let mut settling = FuturesUnordered::new();
    // A message's bytes count until it has ended.
    let settle = async |ran: RunOutcome<M>| (len(&ran.message), settle(ran).await);
    let mut more = true;
    while more || running.messages > 0 || !settling.is_empty() {
        let in_flight = running.messages + settling.len();
        let room = in_flight < limits::OFFLINE_IN_HAND && running.bytes < limits::OFFLINE_BYTES;
        tokio::select! {
            message = messages.next(), if more && room => match message {
                Some(message) => if let Some(failed) = running.submit(message?) {
                    settling.push(settle(failed));
                },
                None => more = false,
            },
            Some(ran) = running.finished.recv(), if running.messages > 0 => settling.push(settle(running.take(ran))),
            Some((len, end)) = settling.next(), if !settling.is_empty() => {
                running.bytes -= len;
                ended(end?);
            }
            // A lane may be stuck in native code.
            () = tokio::time::sleep(limits::OFFLINE_SILENCE) => return Err(OfflineFault::NoProgress),
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
    /// Messages queued or on a lane.
    messages: usize,
    /// The bytes of all messages in flight.
    bytes: usize,
}

impl<M: Runnable> Running<M> {
    fn start(bundle: Arc<Bundle>, lanes: usize) -> Result<Self, OfflineFault> {
        let (sender, finished) = mpsc::channel(limits::OFFLINE_IN_HAND);
        let lanes = Lanes::start(lanes, limits::OFFLINE_IN_HAND, &sender, None).map_err(OfflineFault::Lanes)?;
        // No later message would fill the last batch.
        lanes.stop_batching_delay();
        Ok(Self { bundle, lanes, finished, messages: 0, bytes: 0 })
    }

    /// Submits a message to a lane. Returns a rejected message.
    fn submit(&mut self, message: M) -> Option<RunOutcome<M>> {
        let failed = |message, label, text| {
            Some(RunOutcome { message, result: Err(RunFailure { label, text }), times: MessageTimes::default() })
        };
        self.bytes += len(&message);
        let payload = match message.payload() {
            Ok(payload) => payload,
            Err(why) => return failed(message, "no_payload", why),
        };
        let encoding = match fits(&self.bundle, payload.len(), Some(message.headers())) {
            Ok(encoding) => encoding,
            Err(refusal) => {
                return failed(message, refusal.verdict().label, outcome::header_text(&refusal.to_string()));
            }
        };
        let job = Job {
            bundle: self.bundle.clone(),
            payload,
            encoding,
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
            // The queue holds all messages in flight: a full queue means a stopped lane.
            Err(job) => failed(job.ticket, Refusal::Stopping.verdict().label, Refusal::Stopping.to_string()),
        }
    }

    fn take(&mut self, finished: Finished<M>) -> RunOutcome<M> {
        let Finished { bundle, result, times, ticket: message, .. } = finished;
        self.messages -= 1;
        RunOutcome { message, result: result.map_err(|failure| RunFailure::new(&bundle, &failure)), times }
    }
}

impl RunFailure {
    pub fn new(bundle: &Bundle, failure: &Failure) -> Self {
        let text = failure.sentence(&bundle.identity, bundle.plan.name(failure.stage));
        Self { label: failure.verdict().label, text }
    }
}
