//! Looks up a message's stored result, emitted events and dead letter.
//!
//! The server rejects a second copy of a result only within its duplicate window. Redeliveries after the window or on
//! another version need this lookup.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{DeliverPolicy, ReplayPolicy, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::RawMessageErrorKind;
use futures_util::StreamExt as _;
use inferbus_catalog::{Route, RouteName};

use super::fault::SetupFault;
use super::names;
use crate::limits;

/// The stream identity and sequence in the newest stored result of a route.
pub async fn newest(
    context: &Context,
    results: &str,
    name: &RouteName,
    route: &Route,
) -> Result<Option<(String, u64)>, SetupFault> {
    let filter = route.output_filter().unwrap_or_default();
    let message = last(context, results, &filter).await?;
    // Another route may publish on the same subjects.
    Ok(message.filter(|message| text(&message.headers, names::ROUTE.as_ref()) == Some(name.as_str())).and_then(origin))
}

/// Whether this message has a dead letter.
pub async fn is_dead(context: &Context, id: &str, route: &RouteName, sequence: u64) -> Result<bool, SetupFault> {
    let message = last(context, names::DEAD_LETTERS, &names::dead_letter_subject(route, sequence)).await?;
    Ok(message.is_some_and(|message| text(&message.headers, "Nats-Msg-Id") == Some(id)))
}

/// The ids of this message's result and emitted events stored since `since`.
///
/// Reads only headers of the message's possible subjects. Messages stored after the start of the lookup are ignored.
pub async fn published(
    context: &Context,
    results: &str,
    output: &str,
    id: &str,
    since: Duration,
) -> Result<HashSet<String>, SetupFault> {
    let doing = || format!("look up earlier results in the stream {results}");
    let fault = |error: &dyn std::fmt::Display| SetupFault::Unreachable { doing: doing(), reason: error.to_string() };
    let stream = context.get_stream_no_info(results).await.map_err(|error| fault(&error))?;
    let since = since.saturating_sub(limits::CLOCK_SKEW);
    let start = i128::try_from(since.as_nanos()).unwrap_or(i128::MAX);
    let config = pull::OrderedConfig {
        filter_subjects: vec![output.to_owned(), format!("{output}.>")],
        deliver_policy: DeliverPolicy::ByStartTime {
            start_time: async_nats::datetime::from_nanos(start).map_err(|error| fault(&error))?,
        },
        replay_policy: ReplayPolicy::Instant,
        headers_only: true,
        ..Default::default()
    };
    let mut consumer = stream.create_consumer(config).await.map_err(|error| fault(&error))?;
    let mut left = consumer.info().await.map_err(|error| fault(&error))?.num_pending;
    let mut messages = consumer.messages().await.map_err(|error| fault(&error))?;
    let mut found = HashSet::new();
    while left > 0 {
        let next = tokio::time::timeout(limits::CONFIRM, messages.next()).await.map_err(|error| fault(&error))?;
        let Some(message) = next else { break };
        let message = message.map_err(|error| fault(&error))?;
        left -= 1;
        let stored = message.headers.as_ref().and_then(|headers| text(headers, "Nats-Msg-Id"));
        let own = |stored: &&str| stored.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        found.extend(stored.filter(own).map(ToOwned::to_owned));
    }
    Ok(found)
}

async fn last(context: &Context, stream: &str, subject: &str) -> Result<Option<StreamMessage>, SetupFault> {
    let doing = || format!("look for {subject} in the stream {stream}");
    let handle = context.get_stream_no_info(stream).await;
    let handle = handle.map_err(|error| SetupFault::Unreachable { doing: doing(), reason: error.to_string() })?;
    match handle.get_last_raw_message_by_subject(subject).await {
        Ok(message) => Ok(Some(message)),
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        Err(error) => Err(SetupFault::Unreachable { doing: doing(), reason: error.to_string() }),
    }
}

/// `<stream>@<creation time>` and the sequence, from a result's id.
fn origin(message: StreamMessage) -> Option<(String, u64)> {
    let mut parts = text(&message.headers, "Nats-Msg-Id")?.split('/');
    Some((parts.next()?.to_owned(), parts.next()?.parse().ok()?))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.as_str())
}
