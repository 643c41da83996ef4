//! Headers and subjects of the worker's replies, results and dead letters.
//!
//! The worker defines them. A test of `inferbus bench` compares both lists.

/// Of an error reply, by the NATS service protocol.
pub const ERROR_CODE: &str = "Nats-Service-Error-Code";
pub const ERROR: &str = "Nats-Service-Error";

/// The origin of a result or a dead letter.
pub const ROUTE: &str = "Inferbus-Route";
pub const STREAM: &str = "Inferbus-Stream";
pub const SEQUENCE: &str = "Inferbus-Sequence";
/// Only on results of `inferbus replay`.
pub const REPLAY: &str = "Inferbus-Replay";

/// Of a dead letter.
pub const REASON: &str = "Inferbus-Reason";
pub const DEAD_LETTER_ERROR: &str = "Inferbus-Error";
/// The subject of a dead letter: the prefix, the route and the sequence.
pub const DEAD_LETTER_PREFIX: &str = "inferbus.dlq";
