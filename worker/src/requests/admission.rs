//! The way in: a message is taken from NATS, given a place, and handed to a lane.
//!
//! Promises: a message is handed to a lane, waits for its model to be loaded (`cold.rs`), or is answered at once
//! with why not; nothing is queued beyond the places in hand. The bus never computes and never waits for a lane. What comes back from the
//! lanes goes out through `publish.rs`.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use inferbus_catalog::{ModelName, Priority, Route, RouteName, Span, UnitFault};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::crashes::journal::Journal;
use crate::lanes::lane::{Job, Lanes};
use crate::limits;
use crate::models::bundle::{Bundle, Identity};
use crate::models::registry::{Found, Registry};
use crate::nats::connect;
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::message_span;
use crate::outcome::Refusal;
use crate::requests::reply;
use crate::requests::waiting_room::{Shut, Waiting, WaitingRoom};
use crate::stream::delivery::Delivery;
use crate::stream::places::Room;
use crate::stream::store::Promises;
use crate::wire::Wire;

/// How long the sender of a request waits for its result.
pub const TIMEOUT: &str = "Inferbus-Timeout";

/// What must be remembered of a message while a lane has it.
pub enum Ticket {
    Request(Asked),
    Stream(Box<Delivery>),
}

/// Whom a request's answer goes to.
pub enum ReplyTo {
    Nobody,
    Subject(Subject),
    /// Somebody in this process, who asked otherwise than over NATS.
    Caller(oneshot::Sender<Reply>),
}

/// What a [`ReplyTo::Caller`] gets: what a reply over NATS would be.
pub struct Reply {
    pub headers: HeaderMap,
    pub payload: Bytes,
}

/// What is remembered of a request.
pub struct Asked {
    pub reply: ReplyTo,
    /// Where the result goes besides the reply, and below which emitted topics are published.
    pub output: Option<String>,
    pub headers: Option<HeaderMap>,
    pub received: Instant,
    /// Gives the message's place and bytes back when the ticket is dropped.
    _place: Place,
}

/// A message's place among those in hand, and its bytes'.
struct Place {
    in_flight: Gauge,
    _message: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}

/// Where messages of one subscription belong.
pub enum Origin {
    /// `<prefix>.<model>`: the subject's last token is the model.
    Direct {
        prefix: String,
    },
    Route(RouteName, Route),
}

/// What the bus is told at its start.
pub struct Given {
    pub lane_count: usize,
    /// Requests in hand at once.
    pub in_flight: usize,
    pub journal: Option<Arc<Journal>>,
    pub promises: Promises,
}

pub struct Bus {
    pub client: Client,
    pub registry: Arc<Registry>,
    pub lanes: Lanes<Ticket>,
    pub metrics: Arc<Metrics>,
    /// Room for messages of streams.
    pub room: Room,
    /// Requests for models that are not loaded.
    pub waiting: WaitingRoom,
    pub given: Given,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Bus {
    pub fn new(
        client: Client,
        registry: Arc<Registry>,
        lanes: Lanes<Ticket>,
        metrics: Arc<Metrics>,
        given: Given,
    ) -> Self {
        let places = Arc::new(Semaphore::new(given.in_flight));
        let bytes = Arc::new(Semaphore::new(limits::IN_FLIGHT_BYTES / limits::BYTES_PER_PERMIT));
        let (room, waiting) = (Room::default(), WaitingRoom::default());
        Self { client, registry, lanes, metrics, room, waiting, given, places, bytes }
    }

    /// Takes messages until told to stop, then those that the server had already sent.
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
        let reply = reply.map_or(ReplyTo::Nobody, ReplyTo::Subject);
        let model = origin.model(&subject);
        let (envelope, urgent) = (Envelope { reply, headers }, origin.is_urgent());
        self.ask(Arrival { model, payload, envelope, urgent, output: || origin.output(&subject) }).await;
    }

    /// Has a model tried, and answers at once if that cannot be.
    pub async fn ask(&self, arrival: Arrival<'_, impl FnOnce() -> Option<String>>) {
        if let Err((envelope, refusal)) = self.hand_over(arrival) {
            reply::refusal(&self.client, &self.metrics, envelope, &refusal).await;
        }
    }

    /// No await and no I/O from here to the lane.
    #[expect(clippy::result_large_err, reason = "it is moved once, to whoever answers")]
    fn hand_over(&self, arrival: Arrival<'_, impl FnOnce() -> Option<String>>) -> Result<(), (Envelope, Refusal)> {
        let Arrival { model, payload, envelope, urgent, output } = arrival;
        let received = Instant::now();
        let len = payload.len();
        let deadline = match deadline(received, envelope.headers.as_ref()) {
            Ok(deadline) => deadline,
            Err(refusal) => return Err((envelope, refusal)),
        };
        let found = match self.registry.find(model) {
            Found::Active(bundle) => match fits(&bundle, len, envelope.headers.as_ref()) {
                Ok(wire) => Ok((bundle, wire)),
                Err(refusal) => return Err((envelope, refusal)),
            },
            Found::Cold(model) => Err(model),
            Found::Refused(refusal) => return Err((envelope, refusal)),
        };
        let Some(place) = self.place(len) else {
            let model = found.map_or_else(|model| model, |(bundle, _)| bundle.identity.model.clone());
            return Err((envelope, Refusal::Busy { model, limit: self.given.in_flight }));
        };
        let Envelope { reply, headers } = envelope;
        let asked = Asked { reply, output: output(), headers, received, _place: place };
        let waiting = Waiting { payload, asked, deadline, urgent };
        match found {
            Ok((bundle, wire)) => self.submit(bundle, wire, waiting),
            Err(model) => self.wait(model, waiting),
        }
    }

    #[expect(clippy::result_large_err, reason = "it is moved once, to whoever answers")]
    fn submit(&self, bundle: Arc<Bundle>, wire: Wire, waiting: Waiting) -> Result<(), (Envelope, Refusal)> {
        bundle.touch();
        let Waiting { payload, asked, deadline, urgent } = waiting;
        // What it has waited for its model is no waiting for a lane.
        let (span, received) = (message_span(&bundle.identity, asked.headers.as_ref()), Instant::now());
        let ticket = Ticket::Request(asked);
        let job = Job { bundle, payload, wire, name: None, received, deadline, urgent, span, ticket };
        let Err(job) = self.lanes.submit(job) else {
            return Ok(());
        };
        let (reply, headers) = match job.ticket {
            Ticket::Request(Asked { reply, headers, .. }) => (reply, headers),
            Ticket::Stream(_) => (ReplyTo::Nobody, None),
        };
        Err((Envelope { reply, headers }, Refusal::Stopping))
    }

    #[expect(clippy::result_large_err, reason = "it is moved once, to whoever answers")]
    fn wait(&self, model: ModelName, waiting: Waiting) -> Result<(), (Envelope, Refusal)> {
        match self.waiting.enter(model.clone(), waiting, self.given.in_flight.div_ceil(2)) {
            Ok(is_first) => {
                if is_first {
                    self.registry.asked.put(model, ());
                }
                Ok(())
            }
            Err((waiting, Shut::Closed)) => Err((waiting.asked.into(), Refusal::Stopping)),
            Err((waiting, Shut::Full)) => {
                Err((waiting.asked.into(), Refusal::Busy { model, limit: self.given.in_flight.div_ceil(2) }))
            }
        }
    }

    /// What becomes of a request that has waited for its model: `bundle` is what there was for it then.
    pub async fn waited(&self, model: &ModelName, bundle: Option<Arc<Bundle>>, waiting: Waiting) {
        let found = bundle.map_or_else(|| self.registry.find(model.as_ref()), Found::Active);
        let ended = match found {
            Found::Active(bundle) => match fits(&bundle, waiting.payload.len(), waiting.asked.headers.as_ref()) {
                Ok(wire) => {
                    self.metrics.models.waits.observe(waiting.asked.received.elapsed().as_secs_f64());
                    self.submit(bundle, wire, waiting)
                }
                Err(refusal) => Err((waiting.asked.into(), refusal)),
            },
            // It had to make room again before anybody could have it.
            Found::Cold(model) => self.wait(model, waiting),
            Found::Refused(refusal) => Err((waiting.asked.into(), refusal)),
        };
        if let Err((message, refusal)) = ended {
            reply::refusal(&self.client, &self.metrics, message, &refusal).await;
        }
    }

    /// The bundle that takes a message of this size and kind, or why none does.
    pub fn admit(&self, model: &str, len: usize, headers: Option<&HeaderMap>) -> Result<(Arc<Bundle>, Wire), Refusal> {
        let bundle = self.registry.active(model)?;
        let wire = fits(&bundle, len, headers)?;
        Ok((bundle, wire))
    }

    fn place(&self, len: usize) -> Option<Place> {
        let permits = u32::try_from(len.div_ceil(limits::BYTES_PER_PERMIT)).ok()?;
        let message = self.places.clone().try_acquire_owned().ok()?;
        let bytes = self.bytes.clone().try_acquire_many_owned(permits).ok()?;
        self.metrics.in_flight.inc();
        Some(Place { in_flight: self.metrics.in_flight.clone(), _message: message, _bytes: bytes })
    }

    /// Waits until every message in hand has been published.
    pub async fn emptied(&self) {
        // A closed semaphore cannot happen here, and would mean that nothing is in hand.
        let _ = self.places.acquire_many(u32::try_from(self.given.in_flight).unwrap_or(u32::MAX)).await;
        self.room.emptied().await;
    }
}

/// A request as it came.
pub struct Arrival<'a, Output> {
    pub model: &'a str,
    pub payload: Bytes,
    pub envelope: Envelope,
    /// Whether it goes before all that are not.
    pub urgent: bool,
    /// Where its result goes besides the reply: only made for a message that is taken.
    pub output: Output,
}

/// What a refusal needs of a message.
pub struct Envelope {
    pub reply: ReplyTo,
    pub headers: Option<HeaderMap>,
}

impl From<Asked> for Envelope {
    fn from(Asked { reply, headers, .. }: Asked) -> Self {
        Self { reply, headers }
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

/// Until when the sender wants the result, by the time since the message was received: clocks need not agree.
fn deadline(received: Instant, headers: Option<&HeaderMap>) -> Result<Option<Instant>, Refusal> {
    let Some(given) = headers.and_then(|headers| headers.get(TIMEOUT)) else {
        return Ok(None);
    };
    let span: Result<Span, UnitFault> = given.as_str().parse();
    let unreadable = |why: UnitFault| Refusal::Timeout { given: excerpt(given.as_str()), why: why.to_string() };
    span.map(|span| received.checked_add(span.duration())).map_err(unreadable)
}

fn excerpt(text: &str) -> String {
    text.chars().take(limits::EXCERPT).collect()
}

/// Whether a bundle takes a message of this length and with these headers, whoever brings it, and how its tensors are written.
pub fn fits(bundle: &Bundle, len: usize, headers: Option<&HeaderMap>) -> Result<Wire, Refusal> {
    if len > limits::PAYLOAD {
        let Identity { model, version, .. } = bundle.identity.clone();
        return Err(Refusal::TooLarge { model, version, len, limit: limits::PAYLOAD });
    }
    if bundle.takes_tensors() { Wire::of(&bundle.identity, headers) } else { Ok(Wire::Frame) }
}
