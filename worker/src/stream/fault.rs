//! The faults of finding or creating a route's streams and consumer.

use inferbus_catalog::RouteName;

use super::objects::Conflict;

#[derive(Debug, thiserror::Error)]
pub enum SetupFault {
    #[error("cannot {doing}: {reason}")]
    Unreachable { doing: String, reason: String },
    #[error("cannot {doing}: the server refused: {reason}")]
    Refused { doing: String, reason: String },
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(
        "the stream {stream} is gone, but it has results: restore it, or start a new one with `inferbus route repair \
         {route}`"
    )]
    StreamLost { stream: String, route: RouteName },
    #[error(
        "the consumer {consumer} of the stream {stream} is gone: set the next message with `inferbus route repair \
         {route} --start-at <sequence>` (the newest result is of sequence {newest})"
    )]
    ConsumerLost { consumer: String, stream: String, route: RouteName, newest: u64 },
    #[error(
        "the result stream {results} is gone, but the route had started: restore it, or start a new one with \
         `inferbus route repair {route}`"
    )]
    ResultsLost { results: String, route: RouteName },
}
