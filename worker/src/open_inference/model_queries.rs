//! Queries about models over NATS: `<prefix>.<model>.metadata` and `<prefix>.<model>.ready`.
//!
//! One worker of the queue group answers from its registry, off the message path.

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use futures_util::StreamExt as _;
use futures_util::stream::select;
use tokio_util::sync::CancellationToken;

use crate::config::BusSettings;
use crate::lanes::ticket::{Envelope, ReplyTo};
use crate::models::registry::Registry;
use crate::nats::connect;
use crate::observe::metrics::Metrics;
use crate::open_inference::metadata::{Model, ModelReady};
use crate::requests::reply;
use inferbus_pipeline::encoding::JSON_TYPE;

pub struct ModelQueries {
    client: Client,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    prefix: String,
    metadata: Subscriber,
    ready: Subscriber,
}

/// The subjects; a worker needs the permission to subscribe to them.
pub fn subjects(prefix: &str) -> [String; 2] {
    [format!("{prefix}.*.metadata"), format!("{prefix}.*.ready")]
}

impl ModelQueries {
    pub async fn subscribe(
        client: Client,
        registry: Arc<Registry>,
        metrics: Arc<Metrics>,
        settings: &BusSettings,
    ) -> Result<Self, async_nats::SubscribeError> {
        let [metadata, ready] = subjects(&settings.prefix);
        let metadata = client.queue_subscribe(metadata, settings.group.clone()).await?;
        let ready = client.queue_subscribe(ready, settings.group.clone()).await?;
        Ok(Self { client, registry, metrics, prefix: settings.prefix.clone(), metadata, ready })
    }

    /// Answers until stopped, then answers the queries already sent by the server.
    pub async fn run(self, stop: CancellationToken) {
        let Self { client, registry, metrics, prefix, mut metadata, mut ready } = self;
        let answerer = Answerer { client, registry, metrics, prefix };
        let mut queries = select(&mut metadata, &mut ready);
        loop {
            tokio::select! {
                query = queries.next() => match query {
                    Some(query) => answerer.answer(query).await,
                    None => return,
                },
                () = stop.cancelled() => break,
            }
        }
        for subscriber in [metadata, ready] {
            for query in connect::unsubscribe(&answerer.client, subscriber).await {
                answerer.answer(query).await;
            }
        }
    }
}

struct Answerer {
    client: Client,
    registry: Arc<Registry>,
    metrics: Arc<Metrics>,
    prefix: String,
}

impl Answerer {
    async fn answer(&self, query: Message) {
        let Message { subject, reply, headers, .. } = query;
        let Some(reply) = reply else { return };
        let rest = subject.strip_prefix(&self.prefix).unwrap_or_default().trim_start_matches('.');
        let (model, about) = rest.rsplit_once('.').unwrap_or_default();
        let ready =
            || self.registry.takes(model).map(|()| serde_json::to_vec(&ModelReady { name: model, ready: true }));
        let metadata = || self.registry.active(model).map(|bundle| serde_json::to_vec(&Model::of(&bundle)));
        let json = match if about == "metadata" { metadata() } else { ready() } {
            Ok(json) => json,
            Err(refusal) => {
                let mut headers = headers.unwrap_or_default();
                headers.insert("Content-Type", JSON_TYPE);
                let envelope = Envelope { reply: ReplyTo::Subject(reply), headers: Some(headers) };
                return reply::refusal(&self.client, &self.metrics, envelope, &refusal).await;
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert("Content-Type", JSON_TYPE);
        // Names and numbers always serialize.
        let json = json.unwrap_or_default();
        if self.client.publish_with_headers(reply, headers, json.into()).await.is_err() {
            self.metrics.publish_failures.inc();
        }
    }
}
