//! Admission of requests: each gets a place and goes to a lane, waits for its model, or is refused at once.
//!
//! Guarantees: nothing is queued beyond the places in flight. Admission never computes and never waits for a lane.
//! Finished messages leave through `reply.rs`.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, Message, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use inferbus_catalog::{ModelName, Priority, Route, RouteName};
use inferbus_pipeline::{Encoding, Refusal};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::reply;
use super::waiting_room::{RoomClosed, Waiting, WaitingRoom};
use crate::lanes::dispatch::Dispatch;
use crate::lanes::queue::Job;
use crate::lanes::ticket::{Envelope, Place, ReplyTo, Request, Ticket};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::models::registry::Found;
use crate::nats::{connect, headers};
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::message_span;

/// The origin of one subscription's messages.
pub enum Origin {
    /// `<prefix>.<model>`: the subject's last token is the model.
    Direct {
        prefix: String,
    },
    Route(RouteName, Route),
}

/// A request as received.
pub struct Arrival<'a, Output> {
    pub model: &'a str,
    pub payload: Bytes,
    pub envelope: Envelope,
    /// Goes before all normal requests.
    pub urgent: bool,
    /// Creates the subject of the result besides the reply; called only for an accepted request.
    pub output: Output,
}

pub struct Admission {
    pub client: Client,
    pub dispatch: Arc<Dispatch>,
    pub metrics: Arc<Metrics>,
    /// Requests for unloaded models.
    pub waiting: WaitingRoom,
    max_in_flight: usize,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Admission {
    pub fn new(client: Client, dispatch: Arc<Dispatch>, metrics: Arc<Metrics>, max_in_flight: usize) -> Self {
        let places = Arc::new(Semaphore::new(max_in_flight));
        let bytes = Arc::new(Semaphore::new(limits::IN_FLIGHT_BYTES / limits::BYTES_PER_PERMIT));
        Self { client, dispatch, metrics, waiting: WaitingRoom::default(), max_in_flight, places, bytes }
    }

    /// Accepts messages until stopped, then the messages already sent by the server.
    pub async fn take(&self, mut messages: Subscriber, origin: &Origin, stop: CancellationToken) {
        loop {
            tokio::select! {
                message = messages.next() => match message {
                    Some(message) => self.accept(message, origin).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        for message in connect::unsubscribe(&self.client, messages).await {
            self.accept(message, origin).await;
        }
    }

    async fn accept(&self, message: Message, origin: &Origin) {
        let Message { subject, reply, payload, headers, .. } = message;
        let reply = reply.map_or(ReplyTo::Discard, ReplyTo::Subject);
        let model = origin.model(&subject);
        let (envelope, urgent) = (Envelope { reply, headers }, origin.is_urgent());
        self.ask(Arrival { model, payload, envelope, urgent, output: || origin.output(&subject) }).await;
    }

    /// Admits a request, or sends its refusal.
    pub async fn ask(&self, arrival: Arrival<'_, impl FnOnce() -> Option<String>>) {
        if let Err((envelope, refusal)) = self.admit(arrival) {
            reply::refusal(&self.client, &self.metrics, envelope, &refusal).await;
        }
    }

    /// No await and no I/O from here to the lane.
    #[expect(clippy::result_large_err, reason = "it is moved once, to the reply")]
    fn admit(&self, arrival: Arrival<'_, impl FnOnce() -> Option<String>>) -> Result<(), (Envelope, Refusal)> {
        let Arrival { model, payload, envelope, urgent, output } = arrival;
        let received = Instant::now();
        let len = payload.len();
        let deadline = match headers::deadline(received, envelope.headers.as_ref()) {
            Ok(deadline) => deadline,
            Err(refusal) => return Err((envelope, refusal)),
        };
        let found = match self.dispatch.registry.find(model) {
            Found::Active(bundle) => match bundle.admits(len, envelope.headers.as_ref()) {
                Ok(encoding) => Ok((bundle, encoding)),
                Err(refusal) => return Err((envelope, refusal)),
            },
            Found::Cold(model) => Err(model),
            Found::Refused(refusal) => return Err((envelope, refusal)),
        };
        let Some(place) = self.place(len) else {
            let model = found.map_or_else(|model| model, |(bundle, _)| bundle.identity.model.clone());
            return Err((envelope, self.busy(model, self.max_in_flight)));
        };
        let Envelope { reply, headers } = envelope;
        let request = Request { reply, output: output(), headers, received, place };
        let waiting = Waiting { payload, request, deadline, urgent };
        match found {
            Ok((bundle, encoding)) => self.submit(bundle, encoding, waiting),
            Err(model) => self.wait(model, waiting),
        }
    }

    #[expect(clippy::result_large_err, reason = "it is moved once, to the reply")]
    fn submit(&self, bundle: Arc<Bundle>, encoding: Encoding, waiting: Waiting) -> Result<(), (Envelope, Refusal)> {
        let Waiting { payload, request, deadline, urgent } = waiting;
        // The wait for the model does not count as a wait for a lane.
        let (span, received) = (message_span(&bundle.identity, request.headers.as_ref()), Instant::now());
        let ticket = Ticket::Request(request);
        let job = Job { bundle, payload, encoding, name: None, received, deadline, urgent, span, ticket };
        let Err(job) = self.dispatch.queue.push(job) else {
            return Ok(());
        };
        let envelope = match job.ticket {
            Ticket::Request(request) => request.into(),
            Ticket::Stored(_) => Envelope { reply: ReplyTo::Discard, headers: None },
        };
        Err((envelope, Refusal::Stopping))
    }

    #[expect(clippy::result_large_err, reason = "it is moved once, to the reply")]
    fn wait(&self, model: ModelName, waiting: Waiting) -> Result<(), (Envelope, Refusal)> {
        // The other half of the places is reserved for loaded models.
        let max = self.max_in_flight.div_ceil(2);
        match self.waiting.enter(model.clone(), waiting, max) {
            Ok(is_first) => {
                if is_first {
                    self.dispatch.registry.load_requests.put(model, ());
                }
                Ok(())
            }
            Err((waiting, RoomClosed::Stopping)) => Err((waiting.request.into(), Refusal::Stopping)),
            Err((waiting, RoomClosed::Full)) => Err((waiting.request.into(), self.busy(model, max))),
        }
    }

    /// Continues a request after the wait for its model. `bundle` is the model's bundle at the end of the wait.
    pub async fn resume(&self, model: &ModelName, bundle: Option<Arc<Bundle>>, waiting: Waiting) {
        let found = bundle.map_or_else(|| self.dispatch.registry.find(model.as_ref()), Found::Active);
        let ended = match found {
            Found::Active(bundle) => match bundle.admits(waiting.payload.len(), waiting.request.headers.as_ref()) {
                Ok(encoding) => {
                    self.metrics.models.waits.observe(waiting.request.received.elapsed().as_secs_f64());
                    self.submit(bundle, encoding, waiting)
                }
                Err(refusal) => Err((waiting.request.into(), refusal)),
            },
            // The model was evicted again before this request could use it.
            Found::Cold(model) => self.wait(model, waiting),
            Found::Refused(refusal) => Err((waiting.request.into(), refusal)),
        };
        if let Err((envelope, refusal)) = ended {
            reply::refusal(&self.client, &self.metrics, envelope, &refusal).await;
        }
    }

    fn busy(&self, model: ModelName, messages: usize) -> Refusal {
        Refusal::Busy { model, messages, bytes: limits::IN_FLIGHT_BYTES }
    }

    fn place(&self, len: usize) -> Option<Place> {
        let permits = u32::try_from(len.div_ceil(limits::BYTES_PER_PERMIT)).ok()?;
        let message = self.places.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(permits).ok()?;
        Some(Place { _in_flight: self.metrics.count_in_flight(), _message: message, _bytes: bytes })
    }

    /// Waits until no request is in flight.
    pub async fn drained(&self) {
        // The semaphore is never closed. An error would mean zero requests in flight.
        let _ = self.places.acquire_many(u32::try_from(self.max_in_flight).unwrap_or(u32::MAX)).await;
    }
}

impl Origin {
    fn model<'a>(&'a self, subject: &'a str) -> &'a str {
        match self {
            Self::Direct { prefix } => {
                subject.strip_prefix(prefix.as_str()).map_or("", |rest| rest.trim_start_matches('.'))
            }
            Self::Route(_, route) => route.model.as_ref(),
        }
    }

    fn is_urgent(&self) -> bool {
        matches!(self, Self::Route(_, route) if route.priority == Priority::High)
    }

    fn output(&self, subject: &str) -> Option<String> {
        match self {
            Self::Direct { .. } => None,
            Self::Route(_, route) => route.output_for(subject),
        }
    }
}
