//! One dead letter, parsed from its headers.

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::header::{HeaderName, NATS_MESSAGE_ID};
use bytes::Bytes;
use serde::Serialize;

use super::source_stream::StoredMessage;
use crate::excerpt;
use crate::nats::headers::{DIGEST, MODEL, VERSION};
use crate::stream::names;

/// The server's header with the payload size of a message read without its payload.
const SIZE: &str = "Nats-Msg-Size";

/// A dead letter without its payload. Fields without a header are empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetterSummary {
    /// Its sequence in the stream of dead letters.
    pub id: u64,
    #[serde(serialize_with = "serialize_time")]
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
    /// Size of the payload in bytes; 0 if the payload was left in its stream.
    pub size: usize,
    /// The location of a payload left in its stream, as `<stream>/<sequence>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_left: Option<String>,
}

/// A dead letter with the original message.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub summary: DeadLetterSummary,
    /// The headers of the original message.
    pub headers: HeaderMap,
    /// The original payload, or the reason for its absence.
    pub payload: Result<Bytes, String>,
}

fn serialize_time<S: serde::Serializer>(time: &DateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A time in RFC 3339, to the second.
pub fn rfc3339(time: DateTime) -> String {
    let (date, clock) = (time.date(), time.time());
    let (month, day) = (u8::from(date.month()), date.day());
    format!("{:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", date.year(), clock.hour(), clock.minute(), clock.second())
}

impl DeadLetterSummary {
    pub fn of(stored: &StoredMessage) -> Self {
        let text = |name: HeaderName| stored.headers.get(name).map(|value| value.as_str().to_owned());
        let plain = |name| text(name).map(|text| excerpt::plain(&text)).unwrap_or_default();
        let number = |name| text(name).and_then(|text| text.parse().ok()).unwrap_or_default();
        let size = stored.headers.get(SIZE).and_then(|size| size.as_str().parse().ok());
        Self {
            id: stored.sequence,
            at: stored.time,
            route: plain(names::ROUTE),
            stream: plain(names::STREAM),
            sequence: number(names::SEQUENCE),
            subject: plain(names::SUBJECT),
            deliveries: number(names::DELIVERIES),
            model: plain(MODEL),
            version: plain(VERSION),
            digest: plain(DIGEST),
            stage: plain(names::STAGE),
            reason: plain(names::REASON),
            error: plain(names::ERROR),
            message_id: text(NATS_MESSAGE_ID).unwrap_or_default(),
            size: size.unwrap_or(stored.payload.len()),
            payload_left: text(names::PAYLOAD_LEFT),
        }
    }

    /// The original message as `<stream>/<sequence>`.
    pub fn message(&self) -> String {
        format!("{}/{}", self.stream, self.sequence)
    }
}

/// The headers of the original message.
pub fn original_headers(headers: &HeaderMap) -> HeaderMap {
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

    fn stored(headers: HeaderMap) -> StoredMessage {
        let time = async_nats::datetime::parse_rfc3339("2026-11-21T14:03:05.25Z").unwrap();
        StoredMessage { sequence: 7, subject: "inferbus.dlq.cameras.41".into(), headers, payload: "abc".into(), time }
    }

    #[test]
    fn a_dead_letter_is_parsed_from_its_headers() {
        let mut headers = HeaderMap::new();
        headers.insert(names::ROUTE, "cameras");
        headers.insert(names::STREAM, "CAMERAS");
        headers.insert(names::SEQUENCE, "41");
        headers.insert(names::REASON, "refused");
        headers.insert(names::ERROR, "\u{1b}[31mred");
        headers.insert("Inferbus-Original-Content-Type", "image/x-dcam");
        headers.append("Inferbus-Original-Lens", "one");
        headers.append("Inferbus-Original-Lens", "two");
        let summary = DeadLetterSummary::of(&stored(headers.clone()));
        assert_eq!((summary.id, summary.message().as_str(), summary.size), (7, "CAMERAS/41", 3));
        assert_eq!((summary.reason.as_str(), summary.stage.as_str()), ("refused", ""));
        assert_eq!(summary.error, " [31mred");
        assert_eq!(rfc3339(summary.at), "2026-11-21T14:03:05Z");
        let originals = original_headers(&headers);
        assert_eq!(originals.len(), 2);
        assert_eq!(originals.get_all("Lens").count(), 2);
    }

    #[test]
    fn without_a_payload_its_size_is_the_servers() {
        let mut headers = HeaderMap::new();
        headers.insert(SIZE, "5000");
        assert_eq!(DeadLetterSummary::of(&StoredMessage { payload: Bytes::new(), ..stored(headers) }).size, 5000);
    }
}
