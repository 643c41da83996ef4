//! The names of streams, consumers, subjects, headers and message ids, shared by workers and commands.

use std::time::{SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, HeaderName};
use inferbus_catalog::{Route, RouteName};

/// The stream of dead letters, shared by all routes.
pub const DEAD_LETTERS: &str = "INFERBUS_DLQ";
/// The subjects of dead letters: `inferbus.dlq.<route>.<sequence>`.
pub const DEAD_LETTER_SUBJECTS: &str = "inferbus.dlq.>";

/// The origin of a result, emitted event or dead letter of a stream route.
pub const ROUTE: HeaderName = HeaderName::from_static("Inferbus-Route");
pub const STREAM: HeaderName = HeaderName::from_static("Inferbus-Stream");
pub const SEQUENCE: HeaderName = HeaderName::from_static("Inferbus-Sequence");

/// Further headers of a dead letter, in addition to model, version and digest.
pub const SUBJECT: HeaderName = HeaderName::from_static("Inferbus-Subject");
pub const DELIVERIES: HeaderName = HeaderName::from_static("Inferbus-Deliveries");
pub const REASON: HeaderName = HeaderName::from_static("Inferbus-Reason");
pub const ERROR: HeaderName = HeaderName::from_static("Inferbus-Error");
pub const STAGE: HeaderName = HeaderName::from_static("Inferbus-Stage");
/// The prefix of the original message's header names.
pub const ORIGINAL: &str = "Inferbus-Original-";
/// Replaces a payload above the server's limit: the stream and sequence of the original message.
pub const PAYLOAD_LEFT: HeaderName = HeaderName::from_static("Inferbus-Payload-Left");

/// Marks the results of `inferbus replay`.
pub const REPLAY: HeaderName = HeaderName::from_static("Inferbus-Replay");

/// Writes the stored message of a result.
pub fn origin(headers: &mut HeaderMap, route: Option<&str>, stream: &str, sequence: u64) {
    if let Some(route) = route {
        headers.insert(ROUTE, route);
    }
    headers.insert(STREAM, stream);
    headers.insert(SEQUENCE, sequence.to_string());
}

/// The durable consumer, shared by all workers.
pub fn consumer(route: &RouteName) -> String {
    format!("inferbus-{route}")
}

/// The stream of a route's results.
pub fn results(name: &RouteName, route: &Route) -> String {
    let named = route.stream().and_then(|options| options.results.as_ref());
    named.map_or_else(|| format!("INFERBUS_RESULTS_{name}"), ToString::to_string)
}

/// The result stream's subjects: results and, below them, emitted events.
pub fn result_subjects(route: &Route) -> Vec<String> {
    let filter = route.output_filter().unwrap_or_default();
    if filter.ends_with('>') { vec![filter] } else { vec![format!("{filter}.>"), filter] }
}

pub fn dead_letter_subject(route: &RouteName, sequence: u64) -> String {
    format!("inferbus.dlq.{route}.{sequence}")
}

/// A stream by name and creation time: a recreated stream restarts its sequences at one.
pub fn stream_identity(stream: &str, created: SystemTime) -> String {
    let created = created.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{stream}@{:x}", created.as_millis())
}

/// The message id of a result, for the server's duplicate check. Emitted events append `/1`, `/2`, ….
pub fn message_id(stream_identity: &str, sequence: u64, route: &RouteName) -> String {
    format!("{stream_identity}/{sequence}/{route}")
}
