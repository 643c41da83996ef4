//! What a dead letter says, in its headers; its payload is the message's own.

use async_nats::HeaderMap;
use bytes::Bytes;

use super::delivery::Delivery;
use super::names;
use crate::bundle::Bundle;
use crate::job::Stage;
use crate::limits;
use crate::outcome::{Verdict, header_text};

/// Why a message is dead.
pub struct Cause<'a> {
    pub verdict: Verdict,
    pub text: String,
    pub stage: Option<Stage>,
    /// What ran it, if anything did.
    pub bundle: Option<&'a Bundle>,
}

/// Headers and payload. A payload for which the server has no room beside the headers stays in its stream.
pub fn write(delivery: &Delivery, id: &str, cause: &Cause<'_>) -> (HeaderMap, Bytes) {
    let intake = &delivery.intake;
    let mut headers = cause.bundle.map(|bundle| bundle.headers.clone()).unwrap_or_default();
    headers.insert("Inferbus-Model", intake.route.model.as_str());
    headers.insert(names::ROUTE, intake.name.as_str());
    headers.insert(names::STREAM, intake.options.stream.as_str());
    headers.insert(names::SEQUENCE, delivery.stored.sequence.to_string());
    headers.insert(names::SUBJECT, delivery.subject.as_str());
    headers.insert(names::DELIVERIES, delivery.stored.deliveries.to_string());
    headers.insert(names::REASON, cause.verdict.label);
    headers.insert(names::ERROR, header_text(&cause.text));
    if let Some(stage) = cause.stage {
        headers.insert(names::STAGE, stage.name());
    }
    headers.insert(async_nats::header::NATS_MESSAGE_ID, id);
    let mut room = intake.bus.client.max_payload().saturating_sub(limits::HEADER_ROOM);
    if delivery.payload.len() > room {
        headers.insert(names::PAYLOAD_LEFT, format!("{}/{}", intake.options.stream, delivery.stored.sequence));
        return (headers, Bytes::new());
    }
    room -= delivery.payload.len();
    originals(&mut headers, delivery.headers.as_ref(), room);
    (headers, delivery.payload.clone())
}

/// The message's own headers, as many as there is room for, under names that mean nothing to the server.
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
