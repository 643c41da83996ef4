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
        "the stream {stream} is gone, and there are results of it: restore it, or begin with a new one by `inferbus route mend {route}`"
    )]
    StreamLost { stream: String, route: RouteName },
    #[error(
        "the consumer {consumer} of the stream {stream} is gone: say where to go on by `inferbus route mend {route} --from <sequence>` (the newest result is of sequence {newest})"
    )]
    ConsumerLost { consumer: String, stream: String, route: RouteName, newest: u64 },
    #[error(
        "the result stream {results} is gone, and the route had begun: restore it, or begin with a new one by `inferbus route mend {route}`"
    )]
    ResultsLost { results: String, route: RouteName },
}
