//! Pull requests of one stream route, and the messages and statuses that answer them.
//!
//! Guarantees: one request is open at a time. Every requested message has its credits before the request is sent.

use std::sync::Arc;
use std::time::Instant;

use async_nats::{Message, StatusCode};
use serde_json::json;

use super::ack_subject::StoredMessage;
use super::credits::Reservation;
use super::in_flight::{Arrived, InFlight};
use super::objects::ORDERED;
use super::{acks, names, settle};
use crate::failpoint;
use crate::limits;
use crate::models::registry::Found;

/// The reason for the end of a round.
pub(super) enum Ended {
    Stopped,
    /// A new connection or another server: prepare the route again.
    Again,
    Fault(String),
}

/// The server's status if another worker has an ordered route's turn.
const WRONG_PIN: u16 = 423;

/// Requests messages and receives them, over one subscription.
pub(super) struct Puller {
    pub(super) in_flight: Arc<InFlight>,
    inbox: String,
    /// Counts requests. Each has a separate reply subject, so a late status cannot end the next request.
    requests: u64,
    pub(super) open: Option<Open>,
    /// The time of the newest request. Arriving messages were delivered after it.
    requested_at: Instant,
    last_answer: Instant,
    /// The start of the present shortage of credits.
    pub(super) short_since: Option<Instant>,
    /// The last request ended without messages, so the next one reserves the minimum.
    idle: bool,
    /// The approximate bytes per message.
    typical: usize,
    /// The consumer's count of its deliveries. A lower count means a new consumer.
    consumer_sequence: u64,
    /// The next message is larger than a usual request permits.
    oversize: bool,
    /// The server's id of this worker while it has an ordered route's turn.
    pub(super) pin: Option<String>,
}

/// The reason against a request now.
pub(super) enum Obstacle {
    Fault(String),
    /// The first pending message loads the model.
    Cold,
}

/// A request still open at the server.
pub(super) struct Open {
    left: usize,
    reserve: Reservation,
}

impl Puller {
    pub(super) fn new(in_flight: Arc<InFlight>, inbox: String, pin: Option<String>) -> Self {
        let now = Instant::now();
        Self {
            in_flight,
            inbox,
            requests: 0,
            open: None,
            requested_at: now,
            last_answer: now,
            short_since: None,
            idle: false,
            typical: limits::PULL_LEAST,
            consumer_sequence: 0,
            oversize: false,
            pin,
        }
    }

    /// The reason against a request now, if any.
    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        if let Some(why) = self.in_flight.trouble() {
            return Some(Obstacle::Fault(why));
        }
        match self.in_flight.cx.dispatch.registry.find(self.in_flight.route.model.as_ref()) {
            Found::Active(_) => None,
            Found::Refused(refusal) => Some(Obstacle::Fault(refusal.to_string())),
            Found::Cold(model) => {
                // Unacknowledged messages are redelivered.
                if self.in_flight.metrics.pending.get() + self.in_flight.metrics.unacked.get() > 0 {
                    self.in_flight.cx.dispatch.registry.load_requests.put(model, ());
                }
                Some(Obstacle::Cold)
            }
        }
    }

    /// A shortage longer than a request's lifetime needs another worker.
    pub(super) fn shortage(&self) -> Option<String> {
        let since = self.short_since.filter(|since| since.elapsed() > limits::PULL_EXPIRES)?;
        Some(format!("other routes have used all credits for {} s: add a worker", since.elapsed().as_secs() / 30 * 30))
    }

    pub(super) fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.in_flight.options.stream, self.in_flight.consumer)
    }

    /// Whether heartbeats of the open request are missing.
    pub(super) fn is_silent(&self) -> bool {
        self.open.is_some() && self.last_answer.elapsed() > limits::PULL_HEARTBEAT * 2 + limits::FEED_TICK
    }

    pub(super) async fn request(&mut self) {
        if self.open.is_some() {
            return;
        }
        let most = if self.oversize || self.idle { 1 } else { limits::PULL };
        let batch = self.in_flight.pull_size().min(most);
        if batch == 0 {
            return;
        }
        let cx = &self.in_flight.cx;
        let least = if self.oversize { limits::PAYLOAD + limits::HEADER_ROOM } else { limits::PULL_LEAST };
        let wanted = (batch * self.typical * 2).clamp(least, limits::PULL_BYTES.max(least));
        let Some(reserve) = cx.credits.reserve(batch, least, wanted) else {
            self.short_since.get_or_insert_with(Instant::now);
            return;
        };
        self.short_since = None;
        self.requests += 1;
        (self.requested_at, self.last_answer) = (Instant::now(), Instant::now());
        let left = reserve.messages();
        let mut question = json!({
            "batch": left,
            "max_bytes": reserve.bytes(),
            "expires": limits::PULL_EXPIRES.as_nanos() as u64,
            "idle_heartbeat": limits::PULL_HEARTBEAT.as_nanos() as u64,
        });
        if self.in_flight.options.order.is_some() {
            question["group"] = ORDERED.into();
            if let Some(pin) = &self.pin {
                question["id"] = pin.as_str().into();
            }
        }
        let subject = self.next_subject();
        let reply = format!("{}.{}", self.inbox, self.requests);
        // After a lost request the server is silent, and the request is repeated.
        let _ = cx.client.publish_with_reply(subject, reply, question.to_string().into()).await;
        self.open = Some(Open { left, reserve });
    }

    /// Handles a message or a status of the request.
    pub(super) fn take(&mut self, message: Message) -> Option<Ended> {
        self.last_answer = Instant::now();
        let Some(status) = message.status else {
            return self.message(message);
        };
        let own = message.subject.rsplit('.').next().and_then(|token| token.parse().ok()) == Some(self.requests);
        let description = message.description.as_deref().unwrap_or_default().to_lowercase();
        match status {
            StatusCode::IDLE_HEARTBEAT => {}
            StatusCode::NO_RESPONDERS => return Some(Ended::Fault(self.error_text("there is no such consumer"))),
            _ if description.contains("consumer deleted") => {
                return Some(Ended::Fault(self.error_text("the consumer was deleted")));
            }
            _ if description.contains("leadership change") || description.contains("server shutdown") => {
                return Some(Ended::Again);
            }
            _ if !own => {}
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => (self.open, self.idle) = (None, true),
            _ if description.contains("message size exceeds") && !self.oversize => {
                (self.open, self.oversize) = (None, true);
            }
            _ if description.contains("batch completed") => self.open = None,
            _ if status.as_u16() == WRONG_PIN => (self.open, self.pin) = (None, None),
            _ => return Some(Ended::Fault(self.error_text(&format!("{status} {description}")))),
        }
        None
    }

    fn error_text(&self, status: &str) -> String {
        let (consumer, stream) = (names::consumer(&self.in_flight.name), &self.in_flight.options.stream);
        format!("the server reports for the consumer {consumer} of the stream {stream}: {status}")
    }

    fn message(&mut self, message: Message) -> Option<Ended> {
        let Some((ack, stored)) = message.reply.clone().and_then(|ack| Some((ack.clone(), StoredMessage::read(&ack)?)))
        else {
            tracing::warn!(subject = %message.subject, "ignored a message without an acknowledgement subject");
            return None;
        };
        if stored.consumer_sequence <= self.consumer_sequence {
            // The consumer was recreated. It redelivers this message after the next preparation.
            self.in_flight.retire();
            return Some(Ended::Again);
        }
        self.consumer_sequence = stored.consumer_sequence;
        if let Some(pin) = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pin-Id")) {
            self.pin = Some(pin.to_string());
        }
        (self.oversize, self.idle) = (false, false);
        let len = message.payload.len();
        self.typical = (self.typical * 7 + len + limits::HEADER_ROOM / 8) / 8;
        let credits = &self.in_flight.cx.credits;
        let place = match &mut self.open {
            Some(open) => {
                open.left = open.left.saturating_sub(1);
                open.reserve.take(credits, len)
            }
            None => credits.one(len),
        };
        if self.open.as_ref().is_some_and(|open| open.left == 0) {
            self.open = None;
        }
        failpoint::pass(failpoint::FETCHED, &message.payload);
        match place {
            Some(place) => {
                let arrived = self.in_flight.arrive(message, (ack, stored), place, self.requested_at);
                if let Arrived::Refused(delivery, refusal) = arrived {
                    tokio::spawn(settle::refused(delivery, refusal));
                }
            }
            None => {
                // A message for a request of an earlier connection.
                let client = self.in_flight.cx.client.clone();
                tokio::spawn(async move { acks::nak(&client, ack, limits::RETRY_FIRST).await });
            }
        }
        None
    }
}
