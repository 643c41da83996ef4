//! Reads a range of a stream through an ordered, ephemeral consumer.
//!
//! Guarantees: each message of the range arrives once and in order, even if the client recreates the consumer.
//! Every wait is bounded. Messages stored after the start are not part of the range. The client's subscription and
//! the server's flow control bound the messages buffered here.

use std::error::Error;

use async_nats::HeaderMap;
use async_nats::datetime::{self, DateTime};
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig, OrderedErrorKind};
use async_nats::jetstream::consumer::{Consumer, DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{ConsumerErrorKind, Info, RawMessageErrorKind, RetentionPolicy, Stream};
use async_nats::jetstream::{Context, ErrorCode};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, Stream as Messages};
use inferbus_catalog::SubjectFilter;

use super::fault::OfflineFault;
use super::position::Position;
use crate::limits;
use crate::stream::names;

/// A message of a stream.
#[derive(Clone, Debug)]
pub struct StoredMessage {
    pub sequence: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub time: DateTime,
}

/// A range of messages. Both ends are inclusive.
#[derive(Clone, Debug)]
pub struct MessageRange {
    /// Subjects: a message must match one of them.
    pub filters: Vec<SubjectFilter>,
    pub from: Option<Position>,
    pub to: Option<Position>,
    /// Skip payloads. Their size is then in the header `Nats-Msg-Size`.
    pub headers_only: bool,
}

/// The present size and ends of a range.
#[derive(Debug)]
pub struct Extent {
    /// An upper bound of the number of messages.
    pub count: u64,
    pub first: Option<StoredMessage>,
    /// The end of the range, as a sequence.
    pub last: u64,
}

/// A stream to read from.
#[derive(Clone)]
pub struct SourceStream {
    pub info: Info,
    context: Context,
    stream: Stream,
}

impl SourceStream {
    pub async fn open(context: &Context, name: &str) -> Result<Self, OfflineFault> {
        let stream = context.get_stream(name).await.map_err(|fault| match fault.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                OfflineFault::NoStream(name.to_owned())
            }
            _ => OfflineFault::server(format!("open the stream `{name}`"), &fault),
        })?;
        Ok(Self { info: stream.cached_info().clone(), context: context.clone(), stream })
    }

    pub fn name(&self) -> &str {
        &self.info.config.name
    }

    /// The name and creation time of the stream, as in message ids.
    pub fn identity(&self) -> String {
        names::stream_identity(self.name(), self.info.created.into())
    }

    fn fault(&self, fault: &(dyn Error + 'static)) -> OfflineFault {
        OfflineFault::server(format!("read the stream `{}`", self.name()), fault)
    }

    /// One message by its sequence, if still stored.
    pub async fn one(&self, sequence: u64) -> Result<Option<StoredMessage>, OfflineFault> {
        match self.stream.get_raw_message(sequence).await {
            Ok(found) => Ok(Some(found.into())),
            Err(fault) if fault.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// Returns whether the message existed.
    pub async fn delete(&self, sequence: u64) -> Result<bool, OfflineFault> {
        match self.stream.delete_message(sequence).await {
            Ok(deleted) => Ok(deleted),
            // The server has several error codes for a missing message.
            Err(_) if self.one(sequence).await?.is_none() => Ok(false),
            Err(fault) => {
                Err(OfflineFault::server(format!("delete message {sequence} of the stream `{}`", self.name()), &fault))
            }
        }
    }

    /// Reads the stored messages of `range`.
    pub async fn range(
        &self,
        range: MessageRange,
    ) -> Result<impl Messages<Item = Result<StoredMessage, OfflineFault>> + Unpin + use<>, OfflineFault> {
        let last = self.last().await?;
        let consumer = self.consumer(&range, range.from.map_or(DeliverPolicy::All, starting)).await?;
        let ended = consumer.cached_info().num_pending == 0;
        let messages = consumer.messages().await.map_err(|fault| self.fault(&fault))?;
        let reader = Reader { source: self.clone(), range, last, seen: 0, messages, ended };
        let messages = stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.next().await?.map(|message| (message, reader)))
        });
        Ok(Box::pin(messages))
    }

    /// The size of `range`, without reading it.
    pub async fn extent(&self, range: &MessageRange) -> Result<Extent, OfflineFault> {
        let end = self.last().await?;
        let (from, before) = self.count_from(range, range.from.map_or(DeliverPolicy::All, starting)).await?;
        let (after_end, last) = match range.to.and_then(next_position) {
            Some(next) => self.count_from(range, starting(next)).await?,
            None => (0, end),
        };
        let count = from.saturating_sub(after_end);
        let first = if count > 0 { self.first(range, before + 1).await? } else { None };
        Ok(Extent { count, first, last })
    }

    /// The stream's last sequence.
    async fn last(&self) -> Result<u64, OfflineFault> {
        let info = self.stream.get_info().await.map_err(|fault| self.fault(&fault))?;
        match info.config.retention {
            RetentionPolicy::WorkQueue => Err(OfflineFault::WorkQueue(self.name().to_owned())),
            _ => Ok(info.state.last_sequence),
        }
    }

    /// The first matching message at or after a sequence.
    async fn first(&self, range: &MessageRange, from: u64) -> Result<Option<StoredMessage>, OfflineFault> {
        let mut first: Option<StoredMessage> = None;
        for filter in &range.filters {
            match self.stream.get_first_raw_message_by_subject(filter.as_str(), from).await {
                Ok(found) if first.as_ref().is_none_or(|first| found.sequence < first.sequence) => {
                    first = Some(found.into());
                }
                Ok(_) => {}
                Err(fault) if fault.kind() == RawMessageErrorKind::NoMessageFound => {}
                Err(fault) => return Err(self.fault(&fault)),
            }
        }
        Ok(first)
    }

    async fn consumer(
        &self,
        range: &MessageRange,
        deliver_policy: DeliverPolicy,
    ) -> Result<Consumer<OrderedConfig>, OfflineFault> {
        let config = OrderedConfig {
            deliver_subject: self.context.client().new_inbox(),
            filter_subjects: range.filters.iter().map(ToString::to_string).collect(),
            deliver_policy,
            replay_policy: ReplayPolicy::Instant,
            headers_only: range.headers_only,
            ..Default::default()
        };
        self.stream.create_consumer(config).await.map_err(|fault| match fault.kind() {
            ConsumerErrorKind::JetStream(error) => self.fault(&error),
            _ => self.fault(&fault),
        })
    }

    /// The number of messages from `start` on, and the sequence before it. A short-lived consumer counts them.
    async fn count_from(&self, range: &MessageRange, start: DeliverPolicy) -> Result<(u64, u64), OfflineFault> {
        let consumer = self.consumer(range, start).await?;
        let info = consumer.cached_info();
        // On failure, the server removes the inactive consumer later.
        let _ = self.stream.delete_consumer(&info.name).await;
        Ok((info.num_pending, info.delivered.stream_sequence))
    }
}

impl From<StreamMessage> for StoredMessage {
    fn from(StreamMessage { sequence, subject, headers, payload, time }: StreamMessage) -> Self {
        Self { sequence, subject: subject.to_string(), headers, payload, time }
    }
}

fn starting(position: Position) -> DeliverPolicy {
    match position {
        // The server counts from one.
        Position::Sequence(sequence) => DeliverPolicy::ByStartSequence { start_sequence: sequence.max(1) },
        Position::Time(start_time) => DeliverPolicy::ByStartTime { start_time },
    }
}

/// The next position, if there is one.
fn next_position(position: Position) -> Option<Position> {
    match position {
        Position::Sequence(sequence) => sequence.checked_add(1).map(Position::Sequence),
        Position::Time(time) => datetime::from_nanos(time.unix_timestamp_nanos() + 1).ok().map(Position::Time),
    }
}

struct Reader {
    source: SourceStream,
    range: MessageRange,
    /// The stream's last sequence at the start of the read.
    last: u64,
    seen: u64,
    messages: Ordered,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<StoredMessage>, OfflineFault> {
        while !self.ended {
            let message = match tokio::time::timeout(limits::OFFLINE_READ, self.messages.next()).await {
                Ok(Some(Ok(message))) => message,
                // The client recreates the consumer.
                Ok(Some(Err(fault))) if fault.kind() == OrderedErrorKind::MissingHeartbeat => continue,
                Ok(Some(Err(fault))) => return Err(self.source.fault(&fault)),
                Ok(None) => return Err(self.stalled()),
                Err(_) if self.nothing_left().await? => break,
                Err(_) => return Err(self.stalled()),
            };
            let info = message.info().map_err(|fault| self.source.fault(fault.as_ref()))?;
            let (sequence, time, pending) = (info.stream_sequence, info.published, info.pending);
            self.ended = pending == 0;
            if sequence > self.last || self.range.to.is_some_and(|to| is_after(sequence, time, to)) {
                break;
            }
            // A consumer recreated before its first message starts at the beginning of the stream.
            if sequence <= self.seen || self.range.from.is_some_and(|from| is_before(sequence, time, from)) {
                continue;
            }
            self.seen = sequence;
            let (message, _) = message.split();
            let headers = message.headers.unwrap_or_default();
            return Ok(Some(StoredMessage {
                sequence,
                subject: message.subject.to_string(),
                headers,
                payload: message.payload,
                time,
            }));
        }
        self.ended = true;
        Ok(None)
    }

    fn stalled(&self) -> OfflineFault {
        OfflineFault::Stalled { stream: self.source.name().to_owned(), after: self.seen }
    }

    /// Whether the remaining messages were deleted in the meantime.
    async fn nothing_left(&self) -> Result<bool, OfflineFault> {
        let from = match self.range.from {
            Some(Position::Sequence(from)) => from.max(self.seen + 1),
            _ => self.seen + 1,
        };
        let next = self.source.first(&self.range, from).await?;
        let is_after = |next: &StoredMessage| self.range.to.is_some_and(|to| is_after(next.sequence, next.time, to));
        Ok(next.is_none_or(|next| next.sequence > self.last || is_after(&next)))
    }
}

fn is_after(sequence: u64, time: DateTime, end: Position) -> bool {
    match end {
        Position::Sequence(end) => sequence > end,
        Position::Time(end) => time > end,
    }
}

fn is_before(sequence: u64, time: DateTime, start: Position) -> bool {
    match start {
        Position::Sequence(start) => sequence < start,
        Position::Time(start) => time < start,
    }
}
