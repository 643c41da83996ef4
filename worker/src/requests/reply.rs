//! The way out: a finished message becomes a reply, a result and emitted events.
//!
//! Promises: whoever asked with a reply subject gets exactly one answer. Emitted events are published only
//! for a message that succeeded, in order, before its result. A place is given back only after its
//! message has been handed to the client.

use std::fmt::Write as _;
use std::sync::Arc;

use async_nats::{Client, HeaderMap, HeaderName, Subject};
use bytes::Bytes;
use tokio::sync::mpsc;
use tracing::Span;

use crate::job::{Done, Failure, StageTimes};
use crate::lanes::lane::Finished;
use crate::limits;
use crate::models::bundle::{Bundle, Identity};
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::{mark_failed, trace_into};
use crate::outcome::{self, Refusal};
use crate::requests::admission::{Asked, Envelope, Reply, ReplyTo, Ticket};
use crate::stream::settle;
use crate::wire::error_body;

/// The error headers of the NATS services protocol.
pub const ERROR_CODE: &str = "Nats-Service-Error-Code";
pub const ERROR: &str = "Nats-Service-Error";

// Names of this kind are not copied for every message.
pub const MODEL: HeaderName = HeaderName::from_static("Inferbus-Model");
pub const VERSION: HeaderName = HeaderName::from_static("Inferbus-Version");
pub const DIGEST: HeaderName = HeaderName::from_static("Inferbus-Digest");
const STAGE_MICROS: HeaderName = HeaderName::from_static("Inferbus-Stage-Micros");

/// Publishes what the lanes finish until they are gone.
pub async fn run(client: Client, metrics: Arc<Metrics>, mut finished: mpsc::Receiver<Finished<Ticket>>) {
    let publisher = Publisher { client, metrics };
    while let Some(Finished { bundle, result, times, span, ticket }) = finished.recv().await {
        let message = Finished { bundle, result, times, span, ticket: () };
        match ticket {
            Ticket::Request(asked) => publisher.message(message, asked).await,
            Ticket::Stream(delivery) => settle::spawn(message, delivery),
        }
    }
}

struct Publisher {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn message(&self, message: Finished<()>, ticket: Asked) {
        let Finished { bundle, result, times, span, .. } = message;
        let headers = result_headers(&bundle, &span, ticket.headers.as_ref(), times);
        let fit = |done| match ticket.reply {
            ReplyTo::Caller(_) => fits_caller(self.client.max_payload(), done),
            _ => fits(self.client.max_payload(), done),
        };
        match result.and_then(fit) {
            Ok(done) => self.done(&bundle, done, headers, times, ticket).await,
            Err(failure) => {
                mark_failed(&span, failure.verdict().code);
                self.failed(&bundle, &failure, headers, times, ticket).await;
            }
        }
    }

    async fn done(&self, bundle: &Bundle, done: Done, mut headers: HeaderMap, times: StageTimes, ticket: Asked) {
        bundle.metrics.done(done.output.is_some(), done.emits.len(), times, ticket.received.elapsed());
        for emit in done.emits {
            let subject = match &ticket.output {
                Some(output) => format!("{output}.{}", emit.topic),
                None => format!("inference.{}.{}", bundle.identity.model, emit.topic),
            };
            self.publish(subject.into(), headers.clone(), emit.payload.into()).await;
        }
        done.written.say(&mut headers);
        if let (Some(subject), Some(output)) = (&ticket.output, &done.output) {
            self.publish(subject.as_str().into(), headers.clone(), output.clone()).await;
        }
        if done.output.is_none() {
            headers.insert("Inferbus-Result", "none");
        }
        answer(&self.client, &self.metrics, ticket.reply, headers, done.output.unwrap_or_default()).await;
    }

    async fn failed(
        &self,
        bundle: &Bundle,
        failure: &Failure,
        mut headers: HeaderMap,
        times: StageTimes,
        ticket: Asked,
    ) {
        let (verdict, stage) = (failure.verdict(), failure.stage());
        let identity = &bundle.identity;
        let text = outcome::sentence(identity.model.as_ref(), &identity.version.to_string(), stage, failure);
        bundle.metrics.failed(verdict, &text, times, ticket.received.elapsed());
        tracing::debug!(code = verdict.code, "{text}");
        headers.insert("Inferbus-Stage", stage.name());
        let body = error_body(ticket.headers.as_ref(), &text, &mut headers);
        error_headers(&mut headers, verdict.code, text);
        answer(&self.client, &self.metrics, ticket.reply, headers, body.into()).await;
    }

    async fn publish(&self, subject: Subject, headers: HeaderMap, payload: Bytes) {
        if self.client.publish_with_headers(subject, headers, payload).await.is_err() {
            self.metrics.unpublished.inc();
        }
    }
}

/// Hands an answer to the client, or to the caller; one that has gone away needs none.
async fn answer(client: &Client, metrics: &Metrics, to: ReplyTo, headers: HeaderMap, payload: Bytes) {
    match to {
        ReplyTo::Nobody => {}
        ReplyTo::Caller(caller) => drop(caller.send(Reply { headers, payload })),
        ReplyTo::Subject(subject) => {
            if client.publish_with_headers(subject, headers, payload).await.is_err() {
                metrics.unpublished.inc();
            }
        }
    }
}

/// The result of a caller in this process does not go to the server.
fn fits_caller(max_payload: usize, mut done: Done) -> Result<Done, Failure> {
    let output = done.output.take();
    fits(max_payload, done).map(|done| Done { output, ..done })
}

/// What the server would not take must be known before any part of it is published.
pub fn fits(max_payload: usize, done: Done) -> Result<Done, Failure> {
    let limit = max_payload.saturating_sub(limits::HEADER_ROOM);
    let emits = done.emits.iter().map(|emit| emit.payload.len());
    match emits.chain(done.output.as_ref().map(Bytes::len)).max() {
        Some(len) if len > limit => Err(Failure::Unpublishable { len, limit }),
        _ => Ok(done),
    }
}

/// Who made a result, how long it took, and in which trace.
pub fn result_headers(bundle: &Bundle, span: &Span, incoming: Option<&HeaderMap>, times: StageTimes) -> HeaderMap {
    message_headers(&bundle.headers, span, incoming, times)
}

/// What the headers of a bundle become for one message.
pub fn message_headers(bundle: &HeaderMap, span: &Span, incoming: Option<&HeaderMap>, times: StageTimes) -> HeaderMap {
    let mut headers = bundle.clone();
    trace_into(&mut headers, span, incoming);
    headers.insert(STAGE_MICROS, stage_micros(times));
    headers
}

/// Answers a message that is not tried.
pub async fn refusal(client: &Client, metrics: &Metrics, message: Envelope, refusal: &Refusal) {
    let verdict = refusal.verdict();
    let text = outcome::header_text(&refusal.to_string());
    metrics.refusal(verdict, &text);
    if matches!(message.reply, ReplyTo::Nobody) {
        tracing::debug!(code = verdict.code, "dropped, with nobody to tell: {text}");
        return;
    }
    let mut headers = HeaderMap::new();
    let body = error_body(message.headers.as_ref(), &text, &mut headers);
    error_headers(&mut headers, verdict.code, text);
    trace_into(&mut headers, &Span::none(), message.headers.as_ref());
    answer(client, metrics, message.reply, headers, body.into()).await;
}

pub fn error_headers(headers: &mut HeaderMap, code: u16, text: String) {
    headers.insert(ERROR_CODE, code.to_string());
    headers.insert(ERROR, text);
}

/// The headers that say who made a result: the same for every message of a bundle.
pub fn identity_headers(identity: &Identity) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MODEL, identity.model.as_str());
    headers.insert(VERSION, identity.version.to_string());
    headers.insert(DIGEST, identity.digest.to_string());
    // Each message has its own, for which every copy of the table has room then.
    headers.insert(STAGE_MICROS, "");
    headers
}

fn stage_micros(StageTimes { pre, infer, post, .. }: StageTimes) -> String {
    const USUAL_LEN: usize = 48;
    let mut text = String::with_capacity(USUAL_LEN);
    let (pre, infer, post) = (pre.as_micros(), infer.as_micros(), post.as_micros());
    // Writing to a string cannot fail.
    let _ = write!(text, "pre={pre},infer={infer},post={post}");
    text
}
