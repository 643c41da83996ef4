//! Reading of received messages: numbers, error replies and origins.

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{HeaderMap, HeaderValue, Message, StatusCode};

use crate::headers::{ERROR, ERROR_CODE, REPLAY, ROUTE, SEQUENCE, STREAM};
use crate::settings::Stream;

/// The request number at the end of a reply's subject.
pub fn number(message: &Message) -> Option<u64> {
    message.subject.rsplit('.').next()?.parse().ok()
}

/// The code and the text of an error reply.
pub fn error(message: &Message) -> Option<(String, String)> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Some(("503".into(), "no subscriber on the subject".into()));
    }
    let headers = message.headers.as_ref()?;
    let code = headers.get(ERROR_CODE)?;
    Some((code.to_string(), headers.get(ERROR).map(ToString::to_string).unwrap_or_default()))
}

/// The sequence of the stored message behind a result or a dead letter, if stream and route match.
pub fn origin<'m>(message: &'m Message, stream: &Stream) -> Option<(u64, &'m HeaderMap)> {
    let headers = message.headers.as_ref()?;
    let text = |name| headers.get(name).map(HeaderValue::as_str);
    let route = text(ROUTE);
    let ours = text(STREAM) == Some(&*stream.stream)
        && stream.route.as_deref().is_none_or(|wanted| route == Some(wanted))
        // A replay publishes results of earlier messages.
        && headers.get(REPLAY).is_none();
    ours.then_some((text(SEQUENCE)?.parse().ok()?, headers))
}

/// 0 for the result. Message ids of emitted events end with their number: `<stream>/<sequence>/<route>/<n>`.
pub fn part(headers: &HeaderMap) -> u32 {
    let id = headers.get(NATS_MESSAGE_ID).map(HeaderValue::as_str);
    id.and_then(|id| id.split('/').nth(3)).and_then(|part| part.parse().ok()).unwrap_or(0)
}
