//! The way out of a request: a finished message becomes a reply, a result and emitted events.
//!
//! Guarantees: a request with a reply subject gets exactly one answer. Emitted events are published only for a
//! successful message, in order, before its result. A place is returned only after its message was handed to the
//! client.

use std::sync::Arc;

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use inferbus_pipeline::{Done, Failure, MessageTimes, Refusal, outcome};
use tokio::sync::mpsc;
use tracing::Span;

use crate::lanes::lane::Finished;
use crate::lanes::ticket::{Envelope, Reply, ReplyTo, Request, Ticket};
use crate::models::bundle::Bundle;
use crate::nats::headers;
use crate::observe::metrics::Metrics;
use crate::observe::telemetry::mark_failed;

/// Ends every finished message, until the lanes have stopped.
pub async fn run(client: Client, metrics: Arc<Metrics>, mut finished: mpsc::Receiver<Finished<Ticket>>) {
    let publisher = Publisher { client, metrics };
    while let Some(finished) = finished.recv().await {
        let (finished, ticket) = finished.split();
        match ticket {
            Ticket::Request(request) => publisher.finish(finished, request).await,
            Ticket::Stored(stored) => stored.finish(finished),
        }
    }
}

struct Publisher {
    client: Client,
    metrics: Arc<Metrics>,
}

impl Publisher {
    async fn finish(&self, finished: Finished<()>, request: Request) {
        let max_payload = self.client.max_payload();
        let Finished { bundle, result, times, span, .. } = finished;
        let headers = headers::of_message(&bundle.headers, &bundle.plan, &times, &span, request.headers.as_ref());
        let fit = |done| match request.reply {
            ReplyTo::Caller(_) => fits_caller(&bundle, max_payload, done),
            _ => bundle.fits_server(max_payload, done),
        };
        match result.and_then(fit) {
            Ok(done) => self.succeeded(&bundle, done, headers, times, request).await,
            Err(failure) => {
                mark_failed(&span, failure.verdict().code);
                self.failed(&bundle, &failure, headers, times, request).await;
            }
        }
    }

    async fn succeeded(
        &self,
        bundle: &Bundle,
        done: Done,
        mut headers: HeaderMap,
        times: MessageTimes,
        request: Request,
    ) {
        bundle.metrics.succeeded(done.output.is_some(), done.emits.len(), &times, request.received.elapsed());
        for emit in done.emits {
            let subject = match &request.output {
                Some(output) => format!("{output}.{}", emit.topic),
                None => format!("inference.{}.{}", bundle.identity.model, emit.topic),
            };
            self.publish(subject.into(), headers.clone(), emit.payload.into()).await;
        }
        headers::write_encoding(&mut headers, done.encoding);
        if let (Some(subject), Some(output)) = (&request.output, &done.output) {
            self.publish(subject.as_str().into(), headers.clone(), output.clone()).await;
        }
        if done.output.is_none() {
            headers.insert(headers::RESULT, "none");
        }
        answer(&self.client, &self.metrics, request.reply, headers, done.output.unwrap_or_default()).await;
    }

    async fn failed(
        &self,
        bundle: &Bundle,
        failure: &Failure,
        mut headers: HeaderMap,
        times: MessageTimes,
        request: Request,
    ) {
        let (verdict, step) = (failure.verdict(), bundle.plan.name(failure.stage));
        let text = failure.sentence(&bundle.identity, step);
        bundle.metrics.failed(verdict, &text, &times, request.received.elapsed());
        tracing::debug!(code = verdict.code, "{text}");
        headers.insert(headers::STAGE, step);
        let body = headers::write_error(&mut headers, request.headers.as_ref(), verdict.code, text);
        answer(&self.client, &self.metrics, request.reply, headers, body.into()).await;
    }

    async fn publish(&self, subject: Subject, headers: HeaderMap, payload: Bytes) {
        if self.client.publish_with_headers(subject, headers, payload).await.is_err() {
            self.metrics.publish_failures.inc();
        }
    }
}

/// Hands an answer to the client or to the caller. An absent caller is ignored.
async fn answer(client: &Client, metrics: &Metrics, to: ReplyTo, headers: HeaderMap, payload: Bytes) {
    match to {
        ReplyTo::Discard => {}
        ReplyTo::Caller(caller) => drop(caller.send(Reply { headers, payload })),
        ReplyTo::Subject(subject) => {
            if client.publish_with_headers(subject, headers, payload).await.is_err() {
                metrics.publish_failures.inc();
            }
        }
    }
}

/// The result of a caller in this process does not pass through the server.
fn fits_caller(bundle: &Bundle, max_payload: usize, mut done: Done) -> Result<Done, Failure> {
    let output = done.output.take();
    bundle.fits_server(max_payload, done).map(|done| Done { output, ..done })
}

/// Answers a rejected request.
pub async fn refusal(client: &Client, metrics: &Metrics, envelope: Envelope, refusal: &Refusal) {
    let verdict = refusal.verdict();
    let text = outcome::header_text(&refusal.to_string());
    metrics.refusal(verdict, &text);
    if matches!(envelope.reply, ReplyTo::Discard) {
        tracing::debug!(code = verdict.code, "dropped, without a reply subject: {text}");
        return;
    }
    let mut headers = HeaderMap::new();
    let body = headers::write_error(&mut headers, envelope.headers.as_ref(), verdict.code, text);
    headers::write_trace(&mut headers, &Span::none(), envelope.headers.as_ref());
    answer(client, metrics, envelope.reply, headers, body.into()).await;
}
