//! Messages published beside replies, collected by request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::oneshot;

const PATIENCE: Duration = Duration::from_secs(10);

/// The missing results of a request.
struct Waiting {
    results: Vec<Bytes>,
    count: usize,
    done: oneshot::Sender<Vec<Bytes>>,
}

type All = Mutex<HashMap<u64, Waiting>>;

/// Subscribes to `<output>.<request>.<anything>`.
pub struct Collector {
    all: Arc<All>,
}

impl Collector {
    pub async fn start(client: &Client, output: &str) -> anyhow::Result<Self> {
        let mut messages = client.subscribe(format!("{output}.*.>")).await?;
        client.flush().await?;
        let collector = Self { all: Arc::default() };
        let (all, depth) = (collector.all.clone(), output.split('.').count());
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                take(&all, depth, message);
            }
        });
        Ok(collector)
    }

    /// Returns all results of a request. Call it before sending the request.
    pub fn results(&self, request: u64, count: usize) -> impl Future<Output = anyhow::Result<Vec<Bytes>>> + use<> {
        let (done, all) = oneshot::channel();
        let waiting = Waiting { results: Vec::with_capacity(count), count, done };
        self.all.lock().unwrap_or_else(PoisonError::into_inner).insert(request, waiting);
        async move {
            let results = tokio::time::timeout(PATIENCE, all).await;
            Ok(results.with_context(|| format!("request {request} did not get {count} results in time"))??)
        }
    }
}

/// Ignores unexpected messages.
fn take(all: &All, depth: usize, message: Message) {
    let Some(request) = message.subject.split('.').nth(depth).and_then(|token| token.parse().ok()) else { return };
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(waiting) = all.get_mut(&request) else { return };
    waiting.results.push(message.payload);
    if waiting.results.len() == waiting.count
        && let Some(waiting) = all.remove(&request)
    {
        // The receiver may have timed out.
        let _ = waiting.done.send(waiting.results);
    }
}
