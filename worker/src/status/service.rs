//! The worker as a NATS service: it answers `$SRV.PING`, `$SRV.INFO` and `$SRV.STATS`.
//!
//! The client library's service type counts only messages answered through it, with a lock and an allocation each. This
//! file fills the same wire types from the worker's counters.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::datetime::DateTime;
use async_nats::service::{Info, PingResponse, Stats, endpoint, error};
use async_nats::{Client, Message};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::select_all;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::models::registry::{Counts, ModelStatus, Registry};
use crate::observe::metrics::Metrics;

/// The service name of every worker in `nats micro ls`.
pub const SERVICE: &str = "inferbus";

/// A worker's status, in the `data` of its endpoint's statistics.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerStatus {
    pub worker: String,
    pub ready: bool,
    pub unready: Vec<String>,
    /// The reason for possibly unknown changes of the catalog.
    pub catalog: Option<String>,
    pub in_flight: i64,
    #[serde(default)]
    pub counts: Counts,
    /// The estimated memory of all loaded models.
    #[serde(default)]
    pub memory_bytes: i64,
    /// A part of the models if there are many.
    pub models: Vec<ModelStatus>,
}

pub struct Service {
    pub client: Client,
    pub id: String,
    pub worker: String,
    pub subject: String,
    pub group: String,
    pub metadata: HashMap<String, String>,
    pub started: DateTime,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
}

impl Service {
    /// Answers requests until `stop`. A request addresses all services, this kind of service, or this worker.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut questions = Vec::new();
        for verb in ["PING", "INFO", "STATS"] {
            for subject in
                [format!("$SRV.{verb}"), format!("$SRV.{verb}.{SERVICE}"), format!("$SRV.{verb}.{SERVICE}.{}", self.id)]
            {
                let subscriber = self.client.subscribe(subject).await?;
                questions.push(subscriber.map(move |message| (verb, message)));
            }
        }
        let mut questions = select_all(questions);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                question = questions.next() => match question {
                    Some((verb, question)) => self.answer(verb, question).await?,
                    None => return Ok(()),
                }
            }
        }
    }

    async fn answer(&self, verb: &str, question: Message) -> anyhow::Result<()> {
        let Some(reply) = question.reply else {
            return Ok(());
        };
        let answer = match verb {
            "PING" => serde_json::to_vec(&self.ping())?,
            "INFO" => serde_json::to_vec(&self.info())?,
            _ => serde_json::to_vec(&self.stats())?,
        };
        if let Err(fault) = self.client.publish(reply, Bytes::from(answer)).await {
            tracing::warn!(verb, %fault, "cannot answer a status request");
        }
        Ok(())
    }

    fn ping(&self) -> PingResponse {
        PingResponse {
            kind: "io.nats.micro.v1.ping_response".into(),
            name: SERVICE.into(),
            id: self.id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            metadata: self.metadata.clone(),
        }
    }

    fn info(&self) -> Info {
        Info {
            kind: "io.nats.micro.v1.info_response".into(),
            name: SERVICE.into(),
            id: self.id.clone(),
            description: "runs ONNX models with their own pre- and postprocessing".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            metadata: self.metadata.clone(),
            endpoints: vec![endpoint::Info {
                name: "infer".into(),
                subject: self.subject.clone(),
                queue_group: self.group.clone(),
                metadata: HashMap::new(),
            }],
        }
    }

    fn stats(&self) -> Stats {
        let totals = self.metrics.totals();
        let requests = totals.requests.load(Ordering::Relaxed);
        let nanoseconds = totals.nanoseconds.load(Ordering::Relaxed);
        let last_error = totals.last_error().map(|(code, status)| error::Error { code: code.into(), status });
        Stats {
            kind: "io.nats.micro.v1.stats_response".into(),
            name: SERVICE.into(),
            id: self.id.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.started,
            endpoints: vec![endpoint::Stats {
                name: "infer".into(),
                subject: self.subject.clone(),
                requests: usize::try_from(requests).unwrap_or(usize::MAX),
                errors: usize::try_from(totals.errors.load(Ordering::Relaxed)).unwrap_or(usize::MAX),
                processing_time: Duration::from_nanos(nanoseconds),
                average_processing_time: Duration::from_nanos(nanoseconds.checked_div(requests).unwrap_or(0)),
                last_error,
                data: serde_json::to_value(self.status()).ok(),
                queue_group: self.group.clone(),
            }],
        }
    }

    fn status(&self) -> WorkerStatus {
        WorkerStatus::of(&self.worker, &self.registry, &self.metrics)
    }
}

impl WorkerStatus {
    pub fn of(worker: &str, registry: &Registry, metrics: &Metrics) -> Self {
        let mut unready = registry.unready();
        if metrics.connected.get() == 0 {
            unready.push("not connected to NATS".into());
        }
        let stuck = inferbus_engine::stuck_runs();
        if stuck > 0 {
            unready.push(format!("{stuck} lanes have a model run past its time limit: restart this worker"));
        }
        Self {
            worker: worker.into(),
            ready: unready.is_empty(),
            unready,
            catalog: registry.behind(),
            in_flight: metrics.in_flight.get(),
            counts: registry.counts(),
            memory_bytes: metrics.models.memory.get(),
            models: registry.status(),
        }
    }
}

/// Requests the status of all workers, and waits until no more answers arrive. Returns each worker's Inferbus version
/// and status.
pub async fn survey(client: &Client, patience: Duration) -> anyhow::Result<Vec<(String, WorkerStatus)>> {
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await?;
    client.publish_with_reply(format!("$SRV.STATS.{SERVICE}"), inbox, "".into()).await?;
    let mut workers = Vec::new();
    let mut wait = patience;
    while workers.len() < limits::STATUS_WORKERS
        && let Ok(Some(answer)) = tokio::time::timeout(wait, answers.next()).await
    {
        // An empty answer is the server's "no responders".
        if answer.payload.is_empty() {
            break;
        }
        let stats: Stats = serde_json::from_slice(&answer.payload)?;
        let version = stats.version;
        let data = stats.endpoints.into_iter().find_map(|endpoint| endpoint.data);
        if let Some(data) = data {
            workers.push((version, serde_json::from_value(data)?));
        }
        wait = limits::STATUS_QUIET;
    }
    Ok(workers)
}
