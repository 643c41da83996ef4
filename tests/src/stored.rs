//! Messages of streams: reading them back in order, and publishing more.

use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, stream};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::Site;
use crate::pause;

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Stored {
    pub sequence: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// The server's time of storing it, in nanoseconds since 1970.
    pub time: i128,
}

impl Stored {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    /// The server's time of storing it, in RFC 3339 with nanoseconds.
    pub fn time_text(&self) -> String {
        written(std::time::UNIX_EPOCH + Duration::from_nanos(self.time as u64))
    }

    /// The number in a header.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name).parse().ok()
    }
}

const BATCH: usize = 1000;

/// Reads a stream to its end; a missing stream counts as empty. Retries, because a cluster without one of its
/// servers needs a moment.
pub async fn read_all(context: &Context, stream: &str) -> Vec<Stored> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read(context, stream).await {
            Ok(all) => return all,
            Err(fault) => assert!(Instant::now() < deadline, "the stream {stream} cannot be read: {fault}"),
        }
        pause().await;
    }
}

/// Everything in a stream, or a fault.
async fn read(context: &Context, stream: &str) -> anyhow::Result<Vec<Stored>> {
    let stream = match context.get_stream(stream).await {
        Err(fault) if is_missing(&fault) => return Ok(Vec::new()),
        stream => stream?,
    };
    let held = stream.cached_info().state.messages as usize;
    let config = pull::Config {
        ack_policy: AckPolicy::None,
        memory_storage: true,
        num_replicas: 1,
        inactive_threshold: PATIENCE,
        ..pull::Config::default()
    };
    let consumer = stream.create_consumer(config).await?;
    let mut all = Vec::with_capacity(held);
    while all.len() < held {
        let mut batch = timeout(PATIENCE, consumer.fetch().max_messages(BATCH).messages()).await??;
        let before = all.len();
        while let Some(message) = timeout(PATIENCE, batch.next()).await? {
            all.push(stored(message.map_err(anyhow::Error::from_boxed)?));
        }
        ensure!(all.len() > before, "of {held} messages only {before} came");
    }
    Ok(all)
}

fn is_missing(fault: &jetstream::context::GetStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind::JetStream;
    matches!(fault.kind(), JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

fn stored(message: jetstream::Message) -> Stored {
    let info = message.info().expect("a message of a stream");
    let (sequence, time) = (info.stream_sequence, info.published.unix_timestamp_nanos());
    let message = message.message;
    Stored {
        sequence,
        time,
        subject: message.subject.to_string(),
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
    }
}

impl Site {
    pub fn jetstream(&self) -> Context {
        jetstream::new(self.client.clone())
    }

    /// Everything in a stream.
    pub async fn stored(&self, stream: &str) -> Vec<Stored> {
        read_all(&self.jetstream(), stream).await
    }

    /// Publishes into a stream; returns the sequence, and whether it was a duplicate.
    pub async fn store(&self, subject: &str, headers: HeaderMap, payload: impl Into<Bytes>) -> (u64, bool) {
        let sent = self.jetstream().publish_with_headers(subject.to_owned(), headers, payload.into()).await;
        let stored = sent.expect("sent").await.unwrap_or_else(|fault| panic!("{subject}: {fault}"));
        (stored.sequence, stored.duplicate)
    }

    /// A stream of a test's own.
    pub async fn keep(&self, name: &str, subjects: &[&str]) {
        let subjects = subjects.iter().map(|subject| (*subject).to_owned()).collect();
        let config = stream::Config { name: name.to_owned(), subjects, ..Default::default() };
        self.jetstream().create_stream(config).await.expect("a stream");
    }
}

/// RFC 3339 to the nanosecond.
fn written(time: std::time::SystemTime) -> String {
    let since = time.duration_since(std::time::UNIX_EPOCH).expect("a time after 1970");
    let (days, clock) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Days since 1970 to a date: eras of 400 years from March to February.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}
