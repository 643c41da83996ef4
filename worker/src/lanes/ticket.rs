//! The ticket of a message: everything its end needs, kept while a lane computes.
//!
//! Guarantees: a lane never looks inside. A request's ticket holds its place among the messages in flight; dropping it
//! returns the place. A stored message's ticket is opaque here, because streams are above the lanes.

use std::time::Instant;

use async_nats::{HeaderMap, Subject};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::lane::Finished;
use crate::observe::metrics::InFlight;

pub enum Ticket {
    Request(Request),
    Stored(Box<dyn StoredTicket>),
}

/// The ticket of a stored message.
pub trait StoredTicket: Send {
    /// Ends the message: stores its result or its dead letter, then acknowledges it. Returns at once.
    fn finish(self: Box<Self>, finished: Finished<()>);
}

/// The destination of a request's answer.
pub enum ReplyTo {
    /// The sender did not name a reply subject.
    Discard,
    Subject(Subject),
    /// A caller in this process, for example the HTTP server.
    Caller(oneshot::Sender<Reply>),
}

/// The answer for a [`ReplyTo::Caller`], equal to a reply over NATS.
pub struct Reply {
    pub headers: HeaderMap,
    pub payload: Bytes,
}

pub struct Request {
    pub reply: ReplyTo,
    /// The subject of the result besides the reply, and the prefix of emitted topics.
    pub output: Option<String>,
    pub headers: Option<HeaderMap>,
    pub received: Instant,
    pub place: Place,
}

/// A request's place and bytes among those in flight; dropping it returns both.
pub struct Place {
    pub _in_flight: InFlight,
    pub _message: OwnedSemaphorePermit,
    pub _bytes: OwnedSemaphorePermit,
}

/// The parts of a request that a refusal needs.
pub struct Envelope {
    pub reply: ReplyTo,
    pub headers: Option<HeaderMap>,
}

impl From<Request> for Envelope {
    fn from(Request { reply, headers, .. }: Request) -> Self {
        Self { reply, headers }
    }
}
