//! Everything that a stream holds, read back in order.

use std::time::Instant;

use anyhow::ensure;
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use crate::PATIENCE;
use crate::pause;

/// One message of a stream.
#[derive(Clone, Debug)]
pub struct Kept {
    pub sequence: u64,
    pub subject: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
    /// When the server stored it, in nanoseconds since 1970.
    pub time: i128,
}

impl Kept {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.as_str())
    }

    /// The number in a header.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.header(name).parse().ok()
    }
}

const BATCH: usize = 1000;

/// Reads a stream to its end. A stream that does not exist holds nothing. A cluster that has just lost a server may need a moment
/// until it can be read.
pub async fn read_all(context: &Context, stream: &str) -> Vec<Kept> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match read(context, stream).await {
            Ok(all) => return all,
            Err(fault) => assert!(Instant::now() < deadline, "the stream {stream} cannot be read: {fault}"),
        }
        pause().await;
    }
}

/// Everything that the stream says it holds, or a fault.
async fn read(context: &Context, stream: &str) -> anyhow::Result<Vec<Kept>> {
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

fn stored(message: jetstream::Message) -> Kept {
    let info = message.info().expect("a message of a stream");
    let (sequence, time) = (info.stream_sequence, info.published.unix_timestamp_nanos());
    let message = message.message;
    Kept {
        sequence,
        time,
        subject: message.subject.to_string(),
        headers: message.headers.unwrap_or_default(),
        payload: message.payload,
    }
}
