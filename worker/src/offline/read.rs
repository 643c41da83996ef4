//! Reading a range of a stream without leaving a trace: an ordered consumer that the server forgets by itself.
//!
//! Promises: each message of the range comes once and in order, although the consumer may be made anew meanwhile.
//! No wait is without a bound. What is stored after the reading began is not part of it. What the server has sent and nobody
//! has taken is bounded by the client's subscription and by the server's flow control.

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

/// A message as its stream has it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    pub time: DateTime,
}

/// Which messages are read. Both ends belong to the range.
#[derive(Clone, Debug)]
pub struct Range {
    /// Which subjects: those of any of these filters.
    pub filters: Vec<SubjectFilter>,
    pub from: Option<Position>,
    pub to: Option<Position>,
    /// Without their payloads, whose size is then in the header `Nats-Msg-Size`.
    pub headers_only: bool,
}

/// How far a range reaches now.
#[derive(Debug)]
pub struct Extent {
    /// How many messages there are at most.
    pub count: u64,
    pub first: Option<Stored>,
    /// No message of the range is behind this sequence.
    pub last: u64,
}

/// A stream to read from.
#[derive(Clone)]
pub struct Source {
    pub info: Info,
    context: Context,
    stream: Stream,
}

impl Source {
    pub async fn open(context: &Context, name: &str) -> Result<Self, OfflineFault> {
        let stream = context.get_stream(name).await.map_err(|fault| match fault.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                OfflineFault::NoStream(name.to_owned())
            }
            _ => OfflineFault::server(format!("look at the stream `{name}`"), &fault),
        })?;
        Ok(Self { info: stream.cached_info().clone(), context: context.clone(), stream })
    }

    pub fn name(&self) -> &str {
        &self.info.config.name
    }

    /// The stream by name and birth, as message ids have it.
    pub fn identity(&self) -> String {
        names::stream_identity(self.name(), self.info.created.into())
    }

    fn fault(&self, fault: &(dyn Error + 'static)) -> OfflineFault {
        OfflineFault::server(format!("read the stream `{}`", self.name()), fault)
    }

    /// One message by its sequence; none if it is no longer stored.
    pub async fn one(&self, sequence: u64) -> Result<Option<Stored>, OfflineFault> {
        match self.stream.get_raw_message(sequence).await {
            Ok(found) => Ok(Some(found.into())),
            Err(fault) if fault.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// Says whether there was such a message.
    pub async fn delete(&self, sequence: u64) -> Result<bool, OfflineFault> {
        match self.stream.delete_message(sequence).await {
            Ok(deleted) => Ok(deleted),
            // The server has more than one word for it.
            Err(_) if self.one(sequence).await?.is_none() => Ok(false),
            Err(fault) => {
                Err(OfflineFault::server(format!("delete message {sequence} of the stream `{}`", self.name()), &fault))
            }
        }
    }

    /// Begins to read what is stored of `range` now.
    pub async fn range(
        &self,
        range: Range,
    ) -> Result<impl Messages<Item = Result<Stored, OfflineFault>> + Unpin + use<>, OfflineFault> {
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

    /// Looks how far `range` reaches, without reading it.
    pub async fn extent(&self, range: &Range) -> Result<Extent, OfflineFault> {
        let end = self.last().await?;
        let (from, before) = self.place(range, range.from.map_or(DeliverPolicy::All, starting)).await?;
        let (behind, last) = match range.to.and_then(after) {
            Some(behind) => self.place(range, starting(behind)).await?,
            None => (0, end),
        };
        let count = from.saturating_sub(behind);
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

    /// The first message at or behind a sequence that one of the filters takes.
    async fn first(&self, range: &Range, from: u64) -> Result<Option<Stored>, OfflineFault> {
        let mut first: Option<Stored> = None;
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
        range: &Range,
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

    /// How many messages there are from a place on, and the sequence before it. A consumer knows it, and is given up at once.
    async fn place(&self, range: &Range, start: DeliverPolicy) -> Result<(u64, u64), OfflineFault> {
        let consumer = self.consumer(range, start).await?;
        let info = consumer.cached_info();
        // If that fails, the server forgets it by itself.
        let _ = self.stream.delete_consumer(&info.name).await;
        Ok((info.num_pending, info.delivered.stream_sequence))
    }
}

impl From<StreamMessage> for Stored {
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

/// The first position behind one; none behind the last.
fn after(position: Position) -> Option<Position> {
    match position {
        Position::Sequence(sequence) => sequence.checked_add(1).map(Position::Sequence),
        Position::Time(time) => datetime::from_nanos(time.unix_timestamp_nanos() + 1).ok().map(Position::Time),
    }
}

struct Reader {
    source: Source,
    range: Range,
    /// What the stream's last sequence was when the reading began.
    last: u64,
    seen: u64,
    messages: Ordered,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Stored>, OfflineFault> {
        while !self.ended {
            let message = match tokio::time::timeout(limits::OFFLINE_READ, self.messages.next()).await {
                Ok(Some(Ok(message))) => message,
                // The consumer is made anew.
                Ok(Some(Err(fault))) if fault.kind() == OrderedErrorKind::MissingHeartbeat => continue,
                Ok(Some(Err(fault))) => return Err(self.source.fault(&fault)),
                Ok(None) => return Err(self.stalled()),
                Err(_) if self.nothing_left().await? => break,
                Err(_) => return Err(self.stalled()),
            };
            let info = message.info().map_err(|fault| self.source.fault(fault.as_ref()))?;
            let (sequence, time, pending) = (info.stream_sequence, info.published, info.pending);
            self.ended = pending == 0;
            if sequence > self.last || self.range.to.is_some_and(|to| is_behind(sequence, time, to)) {
                break;
            }
            // A consumer that is made anew before its first message begins with the stream's first.
            if sequence <= self.seen || self.range.from.is_some_and(|from| is_before(sequence, time, from)) {
                continue;
            }
            self.seen = sequence;
            let (message, _) = message.split();
            let headers = message.headers.unwrap_or_default();
            return Ok(Some(Stored {
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

    /// Whether what was still to come has been deleted meanwhile.
    async fn nothing_left(&self) -> Result<bool, OfflineFault> {
        let from = match self.range.from {
            Some(Position::Sequence(from)) => from.max(self.seen + 1),
            _ => self.seen + 1,
        };
        let next = self.source.first(&self.range, from).await?;
        let is_behind = |next: &Stored| self.range.to.is_some_and(|to| is_behind(next.sequence, next.time, to));
        Ok(next.is_none_or(|next| next.sequence > self.last || is_behind(&next)))
    }
}

fn is_behind(sequence: u64, time: DateTime, end: Position) -> bool {
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
