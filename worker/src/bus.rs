//! The way in: a message is taken from NATS, given a place, and handed to a lane.
//!
//! Promises: a message is either handed to a lane or answered at once with why not; nothing is queued
//! beyond the places in hand. The bus never computes and never waits for a lane. What comes back from the
//! lanes goes out through `publish.rs`.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Client, HeaderMap, Message, Subject, Subscriber};
use futures_util::StreamExt as _;
use inferbus_catalog::{Priority, Route, RouteName, Span, UnitFault};
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::bundle::{Bundle, Identity};
use crate::journal::Journal;
use crate::lane::{Job, Lanes};
use crate::metrics::Metrics;
use crate::outcome::Refusal;
use crate::registry::Registry;
use crate::stream::delivery::Delivery;
use crate::stream::places::Room;
use crate::stream::store::Promises;
use crate::telemetry::message_span;
use crate::{connect, limits, publish};

/// How long the sender of a request waits for its result.
pub const TIMEOUT: &str = "Inferbus-Timeout";

/// The content type of a tensor frame.
pub const FRAME_TYPE: &str = "application/x-inferbus-tensors";

/// What must be remembered of a message while a lane has it.
pub enum Ticket {
    Request(Asked),
    Stream(Box<Delivery>),
}

/// What is remembered of a request.
pub struct Asked {
    pub reply: Option<Subject>,
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
        Self { client, registry, lanes, metrics, room: Room::default(), given, places, bytes }
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
        if let Err((message, refusal)) = self.hand_over(message, origin) {
            publish::refusal(&self.client, &self.metrics, message, &refusal).await;
        }
    }

    /// No await and no I/O from here to the lane.
    #[expect(clippy::result_large_err, reason = "it is moved once, to whoever answers")]
    fn hand_over(&self, message: Message, origin: &Origin) -> Result<(), (Envelope, Refusal)> {
        let received = Instant::now();
        let Message { subject, reply, payload, headers, .. } = message;
        let envelope = Envelope { reply, headers };
        let len = payload.len();
        let bundle = match self.admit(origin.model(&subject), len, envelope.headers.as_ref()) {
            Ok(bundle) => bundle,
            Err(refusal) => return Err((envelope, refusal)),
        };
        let identity = &bundle.identity;
        let Some(place) = self.place(len) else {
            return Err((envelope, Refusal::Busy { model: identity.model.clone(), limit: self.given.in_flight }));
        };
        let deadline = match deadline(received, envelope.headers.as_ref()) {
            Ok(deadline) => deadline,
            Err(refusal) => return Err((envelope, refusal)),
        };
        let span = message_span(identity, envelope.headers.as_ref());
        let output = origin.output(&subject);
        let urgent = origin.is_urgent();
        let asked = Asked { reply: envelope.reply, output, headers: envelope.headers, received, _place: place };
        let ticket = Ticket::Request(asked);
        let job = Job { bundle, payload, name: None, received, deadline, urgent, span, ticket };
        let Err(job) = self.lanes.submit(job) else {
            return Ok(());
        };
        let (reply, headers) = match job.ticket {
            Ticket::Request(Asked { reply, headers, .. }) => (reply, headers),
            Ticket::Stream(_) => (None, None),
        };
        Err((Envelope { reply, headers }, Refusal::Stopping))
    }

    /// The bundle that takes a message of this size and kind, or why none does.
    pub fn admit(&self, model: &str, len: usize, headers: Option<&HeaderMap>) -> Result<Arc<Bundle>, Refusal> {
        let bundle = self.registry.active(model)?;
        fits(&bundle, len, headers)?;
        Ok(bundle)
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

/// What a refusal needs of a message.
pub struct Envelope {
    pub reply: Option<Subject>,
    pub headers: Option<HeaderMap>,
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

/// Whether a bundle takes a message of this length and with these headers, whoever brings it.
pub fn fits(bundle: &Bundle, len: usize, headers: Option<&HeaderMap>) -> Result<(), Refusal> {
    if len > limits::PAYLOAD {
        let Identity { model, version, .. } = bundle.identity.clone();
        return Err(Refusal::TooLarge { model, version, len, limit: limits::PAYLOAD });
    }
    if bundle.takes_tensors() { frame_type(&bundle.identity, headers) } else { Ok(()) }
}

fn frame_type(identity: &Identity, headers: Option<&HeaderMap>) -> Result<(), Refusal> {
    match headers.and_then(|headers| headers.get("Content-Type")) {
        Some(given) if given.as_str() != FRAME_TYPE => Err(Refusal::ContentType {
            model: identity.model.clone(),
            version: identity.version.clone(),
            given: given.to_string(),
            expected: "this model has no pre plugin, so send tensors as application/x-inferbus-tensors",
        }),
        _ => Ok(()),
    }
}
