//! One dead letter, as its headers tell it.

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use bytes::Bytes;
use serde::Serialize;

use super::excerpt;
use super::read::Stored;
use crate::requests::reply::{DIGEST, MODEL, VERSION};
use crate::stream::names;

/// What the server says of a message whose payload it was not asked for.
const SIZE: &str = "Nats-Msg-Size";

/// What is known of a dead letter without its payload. What its headers do not say is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its own sequence in the stream of dead letters.
    pub id: u64,
    #[serde(serialize_with = "rfc3339")]
    pub at: DateTime,
    pub route: String,
    pub stream: String,
    pub sequence: u64,
    pub subject: String,
    pub deliveries: u64,
    pub model: String,
    pub version: String,
    pub digest: String,
    pub stage: String,
    pub reason: String,
    pub error: String,
    pub message_id: String,
    /// Bytes of the payload; of one that was left in its stream none are here.
    pub size: usize,
    /// Where the payload was left, as `<stream>/<sequence>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_left: Option<String>,
}

/// A dead letter with what is needed to try it again.
#[derive(Clone, Debug)]
pub struct Letter {
    pub summary: Summary,
    /// The headers of the message as it came.
    pub headers: HeaderMap,
    /// The message's payload, or why it is not to be had.
    pub payload: Result<Bytes, String>,
}

fn rfc3339<S: serde::Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&written(*time))
}

/// A time to the second, as RFC 3339 has it.
pub fn written(time: DateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!("{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", date.year(), clock.hour(), clock.minute(), clock.second())
}

impl Summary {
    pub fn of(stored: &Stored) -> Self {
        let text = |name: HeaderName| stored.headers.get(name).map(|value| value.as_str().to_owned());
        let words = |name| text(name).map(|text| excerpt::plain(&text)).unwrap_or_default();
        let number = |name| text(name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let size = stored.headers.get(SIZE).and_then(|size| size.as_str().parse().ok());
        Self {
            id: stored.sequence,
            at: stored.time,
            route: words(names::ROUTE),
            stream: words(names::STREAM),
            sequence: number(names::SEQUENCE),
            subject: words(names::SUBJECT),
            deliveries: number(names::DELIVERIES),
            model: words(MODEL),
            version: words(VERSION),
            digest: words(DIGEST),
            stage: words(names::STAGE),
            reason: words(names::REASON),
            error: words(names::ERROR),
            message_id: text(NATS_MESSAGE_ID).unwrap_or_default(),
            size: size.unwrap_or(stored.payload.len()),
            payload_left: text(names::PAYLOAD_LEFT),
        }
    }

    /// The message as `<stream>/<sequence>`.
    pub fn message(&self) -> String {
        format!("{}/{}", self.stream, self.sequence)
    }
}

/// The headers of the original message.
pub fn originals(headers: &HeaderMap) -> HeaderMap {
    let mut originals = HeaderMap::new();
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        let Some(name) = name.strip_prefix(names::ORIGINAL).filter(|name| !name.is_empty()) else { continue };
        for value in values {
            originals.append(name, value.clone());
        }
    }
    originals
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(headers: HeaderMap) -> Stored {
        let time = async_nats::datetime::parse_rfc3339("2026-11-21T14:03:05.25Z").unwrap();
        Stored { sequence: 7, subject: "inferbus.dlq.cameras.41".into(), headers, payload: "abc".into(), time }
    }

    #[test]
    fn a_letter_is_told_by_its_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(names::ROUTE, "cameras");
        headers.insert(names::STREAM, "CAMERAS");
        headers.insert(names::SEQUENCE, "41");
        headers.insert(names::REASON, "refused");
        headers.insert(names::ERROR, "\u{1b}[31mred");
        headers.insert("Inferbus-Original-Content-Type", "image/x-dcam");
        headers.append("Inferbus-Original-Lens", "one");
        headers.append("Inferbus-Original-Lens", "two");
        let summary = Summary::of(&stored(headers.clone()));
        assert_eq!((summary.id, summary.message().as_str(), summary.size), (7, "CAMERAS/41", 3));
        assert_eq!((summary.reason.as_str(), summary.stage.as_str()), ("refused", ""));
        assert_eq!(summary.error, " [31mred");
        assert_eq!(written(summary.at), "2026-11-21T14:03:05Z");
        let originals = originals(&headers);
        assert_eq!(originals.len(), 2);
        assert_eq!(originals.get_all("Lens").count(), 2);
    }

    #[test]
    fn the_size_of_a_payload_that_was_not_asked_for_is_the_servers() {
        let mut headers = HeaderMap::new();
        headers.insert(SIZE, "5000");
        assert_eq!(Summary::of(&Stored { payload: Bytes::new(), ..stored(headers) }).size, 5000);
    }
}
