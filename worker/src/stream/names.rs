//! The names that streams, consumers, subjects, headers and message ids have, for workers and commands alike.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, HeaderName};
use inferbus_catalog::{Route, RouteName};

/// The stream of dead letters, shared by all routes.
pub const DEAD_LETTERS: &str = "INFERBUS_DLQ";
/// The subjects of dead letters: `inferbus.dlq.<route>.<sequence>`.
pub const DEAD_LETTER_SUBJECTS: &str = "inferbus.dlq.>";

/// Where a result or a dead letter comes from. Every result and emitted event of a stream's route has these.
pub const ROUTE: HeaderName = HeaderName::from_static("Inferbus-Route");
pub const STREAM: HeaderName = HeaderName::from_static("Inferbus-Stream");
pub const SEQUENCE: HeaderName = HeaderName::from_static("Inferbus-Sequence");

/// What a dead letter says beside that, and beside the model, version and digest.
pub const SUBJECT: HeaderName = HeaderName::from_static("Inferbus-Subject");
pub const DELIVERIES: HeaderName = HeaderName::from_static("Inferbus-Deliveries");
pub const REASON: HeaderName = HeaderName::from_static("Inferbus-Reason");
pub const ERROR: HeaderName = HeaderName::from_static("Inferbus-Error");
pub const STAGE: HeaderName = HeaderName::from_static("Inferbus-Stage");
/// Before the name of each header that the original message had.
pub const ORIGINAL: &str = "Inferbus-Original-";
/// In place of a payload for which, with the headers of a dead letter, the server has no room.
pub const PAYLOAD_LEFT: HeaderName = HeaderName::from_static("Inferbus-Payload-Left");

/// What `inferbus replay` says of the results that it publishes.
pub const REPLAY: HeaderName = HeaderName::from_static("Inferbus-Replay");

/// Writes which stored message a result is of.
pub fn origin(headers: &mut HeaderMap, route: Option<&str>, stream: &str, sequence: u64) {
    if let Some(route) = route {
        headers.insert(ROUTE, route);
    }
    headers.insert(STREAM, stream);
    headers.insert(SEQUENCE, sequence.to_string());
}

/// The durable consumer that all workers share.
pub fn consumer(route: &RouteName) -> String {
    format!("inferbus-{route}")
}

/// The stream that stores a route's results.
pub fn results(name: &RouteName, route: &Route) -> String {
    let named = route.stream().and_then(|options| options.results.as_ref());
    named.map_or_else(|| format!("INFERBUS_RESULTS_{name}"), ToString::to_string)
}

/// What the result stream must take: results and, below, emitted events.
pub fn result_subjects(route: &Route) -> Vec<String> {
    let filter = route.output_filter().unwrap_or_default();
    if filter.ends_with('>') { vec![filter] } else { vec![format!("{filter}.>"), filter] }
}

pub fn dead_letter_subject(route: &RouteName, sequence: u64) -> String {
    format!("inferbus.dlq.{route}.{sequence}")
}

/// A stream by name and birth: one that was deleted and made again counts its messages from one again.
pub fn stream_identity(stream: &str, created: SystemTime) -> String {
    let birth = created.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{stream}@{:x}", birth.as_millis())
}

/// The id by which the server knows a result that it has already stored. Emitted events append `/1`, `/2`, ….
pub fn message_id(stream_identity: &str, sequence: u64, route: &RouteName) -> String {
    format!("{stream_identity}/{sequence}/{route}")
}
