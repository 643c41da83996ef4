//! One bucket of the catalog, accessed through its JetStream stream.
//!
//! Guarantees: every wait is bounded by [`limits::REQUEST_TIMEOUT`]. The stream's leader answers every read, so a
//! reader never sees a state older than the change notification before it.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::SystemTime;

use async_nats::connection::State;
use async_nats::jetstream::consumer::push::{Ordered, OrderedConfig};
use async_nats::jetstream::consumer::{
    AckPolicy, Consumer, DeliverPolicy, FromConsumer, IntoConsumerConfig, ReplayPolicy, pull,
};
use async_nats::jetstream::context::{PublishAckFuture, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{ConsumerErrorKind, Info, RawMessageError, RawMessageErrorKind, Stream};
use async_nats::jetstream::{Context, ErrorCode, Message};
use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::StreamExt;

use crate::fault::{CatalogFault, server_error};
use crate::limits;

const OPERATION: &str = "KV-Operation";
const MARKER: &str = "Nats-Marker-Reason";
const ROLLUP: &str = "Nats-Rollup";

#[derive(Clone)]
pub(crate) struct Bucket {
    pub(crate) name: &'static str,
    context: Context,
    stream: Stream<()>,
    stream_name: String,
    prefix: String,
}

/// A message of the stream: the value of a key at one revision.
pub(crate) struct Stored {
    pub(crate) key: String,
    pub(crate) revision: u64,
    pub(crate) value: Bytes,
    /// The key was deleted or purged. The value is meaningless.
    pub(crate) deleted: bool,
    pub(crate) at: SystemTime,
}

/// The expected state before a write.
#[derive(Clone, Copy)]
pub(crate) enum Expect {
    /// Any state.
    Anything,
    /// This revision of the key. Zero: the key never existed.
    Revision(u64),
}

/// The returned part of each message in a list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Contents {
    Whole,
    KeysOnly,
}

impl Bucket {
    pub(crate) async fn key_value(context: &Context, name: &'static str) -> Result<Self, CatalogFault> {
        Self::new(context, name, format!("KV_{name}"), format!("$KV.{name}.")).await
    }

    pub(crate) async fn objects(context: &Context, name: &'static str) -> Result<Self, CatalogFault> {
        Self::new(context, name, format!("OBJ_{name}"), format!("$O.{name}.")).await
    }

    async fn new(
        context: &Context,
        name: &'static str,
        stream_name: String,
        prefix: String,
    ) -> Result<Self, CatalogFault> {
        let stream = context.get_stream_no_info(&stream_name).await;
        let stream = stream.map_err(|error| CatalogFault::from_client(name, "open a bucket", &error))?;
        Ok(Self { name, context: context.clone(), stream, stream_name, prefix })
    }

    pub(crate) fn stream_name(&self) -> &str {
        &self.stream_name
    }

    pub(crate) fn largest_payload(&self) -> usize {
        self.context.client().max_payload()
    }

    /// A unique token.
    pub(crate) fn unique_token(&self) -> String {
        let inbox = self.context.client().new_inbox();
        inbox.rsplit('.').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.context.client().connection_state() == State::Connected
    }

    pub(crate) async fn info(&self) -> Result<Info, CatalogFault> {
        let doing = format!("read the state of the bucket `{}`", self.name);
        let info = within(&doing, self.stream.get_info()).await?;
        info.map_err(|error| CatalogFault::from_client(self.name, &doing, &error))
    }

    /// The newest revision of a key, including a deletion.
    pub(crate) async fn last(&self, key: &str) -> Result<Option<Stored>, CatalogFault> {
        let doing = format!("read `{key}` of the bucket `{}`", self.name);
        let subject = format!("{}{key}", self.prefix);
        let found = within(&doing, self.stream.get_last_raw_message_by_subject(&subject)).await?;
        self.found(key, &doing, found)
    }

    /// The oldest revision of a key, starting at revision `from`.
    pub(crate) async fn next(&self, key: &str, from: u64) -> Result<Option<Stored>, CatalogFault> {
        let doing = format!("read `{key}` of the bucket `{}`", self.name);
        let subject = format!("{}{key}", self.prefix);
        let found = within(&doing, self.stream.get_first_raw_message_by_subject(&subject, from)).await?;
        self.found(key, &doing, found)
    }

    fn found(
        &self,
        key: &str,
        doing: &str,
        found: Result<async_nats::jetstream::message::StreamMessage, RawMessageError>,
    ) -> Result<Option<Stored>, CatalogFault> {
        let message = match found {
            Ok(message) => message,
            Err(error) => {
                return match error.kind() {
                    RawMessageErrorKind::NoMessageFound => Ok(None),
                    RawMessageErrorKind::JetStream(error) => Err(CatalogFault::from_server(self.name, doing, &error)),
                    _ => Err(CatalogFault::from_client(self.name, doing, &error)),
                };
            }
        };
        Ok(Some(Stored {
            key: key.to_owned(),
            revision: message.sequence,
            value: message.payload,
            deleted: is_deletion(Some(&message.headers)),
            at: message.time.into(),
        }))
    }

    /// Writes a key. Returns `None` if the state is not the expected one, because of a concurrent write.
    pub(crate) async fn put(&self, key: &str, value: Bytes, expect: Expect) -> Result<Option<u64>, CatalogFault> {
        let ack = self.send(key, PublishMessage::build().payload(value), expect).await?;
        self.confirm(key, ack).await
    }

    /// Writes a key and removes all its older revisions.
    pub(crate) async fn put_only(&self, key: &str, value: Bytes, expect: Expect) -> Result<Option<u64>, CatalogFault> {
        let message = PublishMessage::build().payload(value).header(ROLLUP, "sub");
        let ack = self.send(key, message, expect).await?;
        self.confirm(key, ack).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), CatalogFault> {
        let message = PublishMessage::build().header(OPERATION, "DEL");
        let ack = self.send(key, message, Expect::Anything).await?;
        self.confirm(key, ack).await.map(drop)
    }

    /// Sends without waiting for the confirmation, so several messages can be in flight.
    pub(crate) async fn append(&self, key: &str, value: Bytes) -> Result<PublishAckFuture, CatalogFault> {
        self.send(key, PublishMessage::build().payload(value), Expect::Anything).await
    }

    async fn send(&self, key: &str, message: PublishMessage, expect: Expect) -> Result<PublishAckFuture, CatalogFault> {
        let doing = format!("write `{key}` to the bucket `{}`", self.name);
        let message = message.expected_stream(&self.stream_name);
        let message = match expect {
            Expect::Anything => message,
            Expect::Revision(revision) => message.expected_last_subject_sequence(revision),
        };
        let sent = within(&doing, self.context.send_publish(format!("{}{key}", self.prefix), message)).await?;
        sent.map_err(|error| CatalogFault::from_client(self.name, &doing, &error))
    }

    pub(crate) async fn confirm(&self, key: &str, ack: PublishAckFuture) -> Result<Option<u64>, CatalogFault> {
        let doing = format!("write `{key}` to the bucket `{}`", self.name);
        let error = match within(&doing, ack.into_future()).await? {
            Ok(ack) => return Ok(Some(ack.sequence)),
            Err(error) => error,
        };
        // A cluster reports the same error with another code.
        let raced = server_error(&error).map(|error| error.error_code());
        match error.kind() {
            PublishErrorKind::WrongLastSequence => Ok(None),
            _ if raced == Some(ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT) => Ok(None),
            PublishErrorKind::StreamNotFound => Err(CatalogFault::MissingBucket { bucket: self.name }),
            PublishErrorKind::TimedOut => Err(CatalogFault::TimedOut { doing }),
            _ => Err(CatalogFault::from_client(self.name, &doing, &error)),
        }
    }

    /// Removes every revision of a key.
    pub(crate) async fn purge(&self, key: &str) -> Result<(), CatalogFault> {
        let doing = format!("purge `{key}` of the bucket `{}`", self.name);
        let purged = within(&doing, self.stream.purge().filter(format!("{}{key}", self.prefix)).into_future()).await?;
        purged.map(drop).map_err(|error| CatalogFault::from_client(self.name, &doing, &error))
    }

    /// The storage time of a revision, or `None` if it is no longer stored.
    pub(crate) async fn stored_at(&self, revision: u64) -> Result<Option<SystemTime>, CatalogFault> {
        let doing = format!("read revision {revision} of the bucket `{}`", self.name);
        let found = within(&doing, self.stream.get_raw_message(revision)).await?;
        Ok(self.found("", &doing, found)?.map(|stored| stored.at))
    }

    /// The newest revision of every key matching `filter`, then all changes.
    pub(crate) async fn watch(&self, filter: &str, contents: Contents) -> Result<Watch, CatalogFault> {
        let read = self.read(filter, contents).await?;
        let from = read.back().map(|stored| stored.revision + 1);
        let watch = self.changes(filter, contents, from).await?;
        Ok(Watch { caught_up: read.is_empty(), read, ..watch })
    }

    /// All changes from a revision on. Without a revision, starts with the newest revision of every key.
    pub(crate) async fn changes(
        &self,
        filter: &str,
        contents: Contents,
        from: Option<u64>,
    ) -> Result<Watch, CatalogFault> {
        let connection = Connection::of(self.context.client());
        let start = from.map(|start_sequence| DeliverPolicy::ByStartSequence { start_sequence });
        let doing = format!("watch the bucket `{}`", self.name);
        let config = OrderedConfig {
            deliver_subject: self.context.client().new_inbox(),
            filter_subject: format!("{}{filter}", self.prefix),
            deliver_policy: start.unwrap_or(DeliverPolicy::LastPerSubject),
            replay_policy: ReplayPolicy::Instant,
            headers_only: contents == Contents::KeysOnly,
            ..Default::default()
        };
        let consumer = self.consumer(&doing, config).await?;
        let messages = within(&doing, consumer.messages()).await?;
        let messages = messages.map_err(|error| CatalogFault::from_client(self.name, &doing, &error))?;
        let (bucket, prefix) = (self.name, self.prefix.clone());
        Ok(Watch { bucket, prefix, read: VecDeque::new(), messages, connection, caught_up: true })
    }

    async fn consumer<C: IntoConsumerConfig + FromConsumer>(
        &self,
        doing: &str,
        config: C,
    ) -> Result<Consumer<C>, CatalogFault> {
        let error = match within(doing, self.stream.create_consumer(config)).await? {
            Ok(consumer) => return Ok(consumer),
            Err(error) => error,
        };
        Err(match error.kind() {
            ConsumerErrorKind::JetStream(error) => CatalogFault::from_server(self.name, doing, &error),
            _ => CatalogFault::from_client(self.name, doing, &error),
        })
    }

    /// The newest revision of every key matching `filter`, including deletions, ordered by revision. They are fetched
    /// in batches: ten thousand messages at once exceed the client's buffer, and it drops some of them.
    async fn read(&self, filter: &str, contents: Contents) -> Result<VecDeque<Stored>, CatalogFault> {
        let doing = format!("list the bucket `{}`", self.name);
        let config = pull::Config {
            filter_subject: format!("{}{filter}", self.prefix),
            deliver_policy: DeliverPolicy::LastPerSubject,
            replay_policy: ReplayPolicy::Instant,
            ack_policy: AckPolicy::None,
            headers_only: contents == Contents::KeysOnly,
            memory_storage: true,
            inactive_threshold: 2 * limits::REQUEST_TIMEOUT,
            ..Default::default()
        };
        let consumer = self.consumer(&doing, config).await?;
        let mut left = consumer.cached_info().num_pending;
        let mut read = VecDeque::new();
        while left > 0 {
            let batch = if contents == Contents::Whole { limits::FETCH_WHOLE } else { limits::FETCH_KEYS };
            let fetched = within(&doing, consumer.fetch().max_messages(batch).messages()).await?;
            let mut fetched = fetched.map_err(|error| CatalogFault::from_client(self.name, &doing, &error))?;
            let before = read.len();
            while let Some(message) = within(&doing, fetched.next()).await? {
                let message = message
                    .map_err(|error| CatalogFault::Unreachable { doing: doing.clone(), reason: error.to_string() })?;
                let (stored, pending) = stored(&self.prefix, &doing, &message)?;
                if read.len() >= limits::KEYS {
                    return Err(CatalogFault::TooManyKeys { bucket: self.name, limit: limits::KEYS });
                }
                read.push_back(stored);
                left = pending;
            }
            if read.len() == before {
                return Err(CatalogFault::TimedOut { doing });
            }
        }
        Ok(read)
    }

    /// The newest revision of every existing key matching `filter`.
    pub(crate) async fn list(&self, filter: &str, contents: Contents) -> Result<Vec<Stored>, CatalogFault> {
        let read = self.read(filter, contents).await?;
        Ok(read.into_iter().filter(|stored| !stored.deleted).collect())
    }
}

/// A message of the stream and the number of messages after it.
fn stored(prefix: &str, doing: &str, message: &Message) -> Result<(Stored, u64), CatalogFault> {
    let info = message.info().map_err(|error| CatalogFault::Unreachable {
        doing: doing.to_owned(),
        reason: format!("a message lacks its metadata: {error}"),
    })?;
    let stored = Stored {
        key: message.subject.strip_prefix(prefix).unwrap_or_default().to_owned(),
        revision: info.stream_sequence,
        deleted: is_deletion(message.headers.as_ref()),
        at: info.published.into(),
        value: message.payload.clone(),
    };
    Ok((stored, info.pending))
}

pub(crate) struct Watch {
    bucket: &'static str,
    prefix: String,
    /// Initial messages of the watch, not yet returned.
    read: VecDeque<Stored>,
    messages: Ordered,
    connection: Connection,
    /// Whether all initial messages have been returned.
    pub(crate) caught_up: bool,
}

/// One connection to the server. After a reconnect the client has another one.
struct Connection {
    client: Client,
    number: u64,
}

impl Connection {
    fn of(client: Client) -> Self {
        let number = client.statistics().connects.load(Ordering::Relaxed);
        Self { client, number }
    }

    fn is_the_same(&self) -> bool {
        let number = self.client.statistics().connects.load(Ordering::Relaxed);
        self.client.connection_state() == State::Connected && number == self.number
    }
}

impl Watch {
    /// Waits for the next change without a time limit. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Stored, CatalogFault> {
        if let Some(stored) = self.read.pop_front() {
            self.caught_up = self.read.is_empty();
            return Ok(stored);
        }
        let doing = "follow changes";
        let ended = || CatalogFault::Unreachable {
            doing: doing.to_owned(),
            reason: "the watch ended with its connection".to_owned(),
        };
        let message = poll_fn(|task| {
            // After a reconnect the client would recreate the consumer. Without changes since the start of the watch,
            // it would start at the first revision. The server would push all revisions to every worker at once.
            if !self.connection.is_the_same() {
                return Poll::Ready(None);
            }
            // Only the second poll registers for the end of the connection.
            match self.messages.poll_next_unpin(task) {
                Poll::Pending => self.messages.poll_next_unpin(task),
                ready => ready,
            }
        });
        let message = message.await.ok_or_else(ended)?;
        let message = message.map_err(|error| CatalogFault::from_client(self.bucket, doing, &error))?;
        stored(&self.prefix, doing, &message).map(|(stored, _)| stored)
    }
}

fn is_deletion(headers: Option<&HeaderMap>) -> bool {
    let Some(headers) = headers else {
        return false;
    };
    let operation = headers.get(OPERATION).is_some_and(|operation| matches!(operation.as_str(), "DEL" | "PURGE"));
    operation || headers.get(MARKER).is_some()
}

async fn within<F: Future>(doing: &str, step: F) -> Result<F::Output, CatalogFault> {
    let waited = tokio::time::timeout(limits::REQUEST_TIMEOUT, step).await;
    waited.map_err(|_| CatalogFault::TimedOut { doing: doing.to_owned() })
}
