//! Publishes into a stream with retries, until the server's confirmation or the message's deadline.
//!
//! Guarantees: while storage fails, one message of a route retries with growing pauses. The route's other messages wait
//! for it. The route sends no pull request and reports the reason.

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
    #[error("the stream rejects messages of this size: {0}")]
    TooLarge(String),
    #[error("not stored before the deadline: {0}")]
    OutOfTime(String),
    #[error("an attempt may be stored, outside the duplicate window: {0}")]
    Forgotten(String),
}

/// The failure of one attempt.
enum Failed {
    TooLarge(String),
    Transient(String),
}

/// Publishes; returns whether the message is a duplicate.
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

/// Asks the server with retries; `None` without an answer before the deadline.
pub async fn ask<T, E, F>(delivery: &Delivery, ask: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Result<T, E>>,
    E: std::fmt::Display,
{
    let ask = || async { ask().await.map_err(|fault| Failed::Transient(fault.to_string())) };
    persist(delivery, Duration::MAX, ask).await.ok()
}

/// Retries until the deadline, for less than `window`.
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
    // This may be the last message in flight. So the trouble is cleared at every exit, and the next message tries.
    let _clear = ClearTrouble(in_flight);
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

/// Clears a route's trouble on drop.
struct ClearTrouble<'a>(&'a InFlight);

impl Drop for ClearTrouble<'_> {
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
    // The client would buffer the message until reconnection, and other workers may have stored it by then.
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
                let text = format!("{subject} was stored by the stream {} instead of {stream}", stored.stream);
                return Err(Failed::Transient(text));
            }
            Ok(stored.duplicate)
        }
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM => {
            Err(Failed::TooLarge(error.to_string()))
        }
        Ok(Response::Err { error }) => Err(Failed::Transient(format!("the server does not store {subject}: {error}"))),
        Err(fault) => Err(Failed::Transient(format!("the answer to {subject} is not a stream's: {fault}"))),
    }
}
