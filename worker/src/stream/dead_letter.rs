//! The content of a dead letter: cause and origin in its headers, and the message's payload.

use async_nats::HeaderMap;
use bytes::Bytes;

use super::in_flight::Delivery;
use super::names;
use crate::limits;
use crate::models::bundle::Bundle;
use inferbus_pipeline::Verdict;
use inferbus_pipeline::outcome::header_text;

/// Why a message is dead.
pub struct Cause<'a> {
    pub verdict: Verdict,
    pub text: String,
    pub step: Option<&'static str>,
    /// The bundle of the failed run; `None` without a run.
    pub bundle: Option<&'a Bundle>,
}

/// How much of the message a dead letter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its payload, and as many of its headers as fit.
    Whole,
    /// Neither: the payload stays in its stream.
    Bare,
}

/// Headers and payload. A payload above the server's limit stays in its stream.
pub fn write(delivery: &Delivery, id: &str, cause: &Cause<'_>, form: Form) -> (HeaderMap, Bytes) {
    let in_flight = &delivery.in_flight;
    let mut headers = cause.bundle.map(|bundle| bundle.headers.clone()).unwrap_or_default();
    headers.insert("Inferbus-Model", in_flight.route.model.as_str());
    headers.insert(names::ROUTE, in_flight.name.as_str());
    headers.insert(names::STREAM, in_flight.options.stream.as_str());
    headers.insert(names::SEQUENCE, delivery.stored.sequence.to_string());
    headers.insert(names::SUBJECT, delivery.subject.as_str());
    headers.insert(names::DELIVERIES, delivery.stored.deliveries.to_string());
    headers.insert(names::REASON, cause.verdict.label);
    headers.insert(names::ERROR, header_text(&cause.text));
    if let Some(step) = cause.step {
        headers.insert(names::STAGE, step);
    }
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    let room = in_flight.cx.client.max_payload().saturating_sub(limits::HEADER_ROOM);
    let fits = delivery.payload.len() <= room;
    if form == Form::Whole {
        let left = if fits { room - delivery.payload.len() } else { limits::HEADER_ROOM };
        originals(&mut headers, delivery.headers.as_ref(), left);
    }
    if fits && form == Form::Whole {
        return (headers, delivery.payload.clone());
    }
    headers.insert(names::PAYLOAD_LEFT, format!("{}/{}", in_flight.options.stream, delivery.stored.sequence));
    (headers, Bytes::new())
}

/// Copies as many of the message's headers as fit, under a prefix ignored by the server.
fn originals(headers: &mut HeaderMap, own: Option<&HeaderMap>, mut room: usize) {
    for (name, values) in own.iter().flat_map(|own| own.iter()) {
        let name = format!("{}{name}", names::ORIGINAL);
        for value in values {
            let len = name.len() + value.as_str().len() + ": \r\n".len();
            if len > room {
                return;
            }
            room -= len;
            headers.append(name.as_str(), value.clone());
        }
    }
}
