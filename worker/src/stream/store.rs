//! Publishing into a stream until the server has confirmed it, or the message's deadline has passed.
//!
//! Promises: while the server takes nothing, one message of a route tries again, with growing pauses, and the others wait
//! for it; the route asks for no more meanwhile, and says why.

use std::future::Future;
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::publish::PublishAck;
use async_nats::jetstream::response::Response;
use async_nats::{HeaderMap, Request, RequestErrorKind, Subject};
use bytes::Bytes;

use super::in_flight::{Delivery, InFlight};
use crate::failpoint;
use crate::limits;

#[derive(Debug, thiserror::Error)]
pub enum StoreFault {
    #[error("the stream takes no message of this size: {0}")]
    TooLarge(String),
    #[error("nothing could be stored in time: {0}")]
    OutOfTime(String),
    #[error("the server may have stored it and forgotten that it has: {0}")]
    Forgotten(String),
}

/// Why one try did not store anything.
enum Failed {
    TooLarge(String),
    Transient(String),
}

/// Publishes, and says whether the server had it already.
pub async fn confirmed(
    delivery: &Delivery,
    stream: &str,
    subject: &Subject,
    headers: &HeaderMap,
    payload: &Bytes,
) -> Result<bool, StoreFault> {
    let publish = || publish(delivery, stream, subject.clone(), headers.clone(), payload.clone());
    persist(delivery, delivery.in_flight.window, publish).await
}

/// Asks the server something that a message's end depends on; `None` if it could not answer before the deadline.
pub async fn ask<T, E, F>(delivery: &Delivery, ask: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let ask = || async { ask().await.map_err(|fault| Failed::Transient(fault.to_string())) };
    persist(delivery, Duration::MAX, ask).await.ok()
}

/// Tries until the deadline, and for less than `window`.
async fn persist<T, F>(delivery: &Delivery, window: Duration, attempt: impl Fn() -> F) -> Result<T, StoreFault>
where
    F: Future<Output = Result<T, Failed>>,
{
    let begun = Instant::now();
    let first = match attempt().await {
        Ok(value) => return Ok(value),
        Err(Failed::TooLarge(text)) => return Err(StoreFault::TooLarge(text)),
        Err(Failed::Transient(text)) => text,
    };
    let in_flight = &delivery.in_flight;
    in_flight.set_trouble(Some(first.clone()));
    let left = delivery.deadline().saturating_duration_since(Instant::now());
    let Ok(_gate) = tokio::time::timeout(left, in_flight.retry_gate.lock()).await else {
        return Err(StoreFault::OutOfTime(first));
    };
    // However this ends: perhaps nobody is left who would notice that the trouble is over, so the next one is let in to try.
    let _over = Over(in_flight);
    let (mut why, mut pause) = (first, Duration::ZERO);
    loop {
        tokio::time::sleep(pause).await;
        if begun.elapsed() >= window.max(limits::RETRY_STORE) {
            return Err(StoreFault::Forgotten(why));
        }
        why = match attempt().await {
            Ok(value) => return Ok(value),
            Err(Failed::TooLarge(text)) => return Err(StoreFault::TooLarge(text)),
            Err(Failed::Transient(text)) => text,
        };
        in_flight.set_trouble(Some(why.clone()));
        pause = (pause * 2).clamp(limits::RETRY_FIRST, limits::RETRY_STORE);
        if Instant::now() + pause >= delivery.deadline() {
            return Err(StoreFault::OutOfTime(why));
        }
    }
}

/// The end of a route's trouble, as far as one message can tell.
struct Over<'a>(&'a InFlight);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.set_trouble(None);
    }
}

async fn publish(
    delivery: &Delivery,
    stream: &str,
    subject: Subject,
    headers: HeaderMap,
    payload: Bytes,
) -> Result<bool, Failed> {
    let client = &delivery.in_flight.cx.client;
    // What waits in the client until a server is back may go out when others have long stored the same.
    if client.connection_state() != State::Connected {
        return Err(Failed::Transient("not connected to NATS".into()));
    }
    if !delivery.in_flight.cx.confirmations.stored {
        let sent = client.publish_with_headers(subject, headers, payload).await;
        return sent.map(|()| false).map_err(|fault| Failed::Transient(fault.to_string()));
    }
    let request = Request::new().headers(headers).payload(payload).timeout(Some(limits::CONFIRM));
    let answer = match client.send_request(subject.clone(), request).await {
        Ok(answer) => answer,
        Err(fault) if fault.kind() == RequestErrorKind::MaxPayloadExceeded => {
            return Err(Failed::TooLarge(fault.to_string()));
        }
        Err(fault) if fault.kind() == RequestErrorKind::NoResponders => {
            return Err(Failed::Transient(format!("no stream stores {subject}")));
        }
        Err(fault) => return Err(Failed::Transient(format!("publishing to {subject}: {fault}"))),
    };
    failpoint::pass(failpoint::PUBLISHED, &delivery.payload);
    match serde_json::from_slice::<Response<PublishAck>>(&answer.payload) {
        Ok(Response::Ok(stored)) => {
            failpoint::pass(failpoint::CONFIRMED, &delivery.payload);
            if stored.stream != stream {
                let text = format!("{subject} was stored by the stream {} and not by {stream}", stored.stream);
                return Err(Failed::Transient(text));
            }
            Ok(stored.duplicate)
        }
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            Err(Failed::TooLarge(error.to_string()))
        }
        Ok(Response::Err { error }) => Err(Failed::Transient(format!("the server does not store {subject}: {error}"))),
        Err(fault) => Err(Failed::Transient(format!("the answer to {subject} is not one of a stream: {fault}"))),
    }
}
