//! Publishes results as a worker does: emitted events, then the result, each confirmed.

use std::collections::HashSet;
use std::fmt::Display;

use async_nats::HeaderMap;
use async_nats::jetstream::Context;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::Bytes;
use futures_util::future::join_all;
use inferbus_catalog::SubjectFilter;

use super::fault::OfflineFault;
use super::run::RunFailure;
use crate::models::bundle::Bundle;
use crate::nats::headers;
use inferbus_pipeline::Done;
use inferbus_pipeline::outcome::header_text;

/// The streams expected to store the published messages.
#[derive(Clone, Debug)]
pub enum ResultStorage {
    /// Exactly this stream.
    Stream(String),
    /// Any stream with one of these subjects. Messages on other subjects are published without a confirmation.
    Any(Vec<SubjectFilter>),
}

#[derive(Clone)]
pub struct ResultPublisher {
    pub context: Context,
    pub storage: ResultStorage,
}

/// The subject, headers and message id of a result.
pub struct Target {
    pub subject: String,
    pub headers: HeaderMap,
    /// The message id of the result. Emitted events append their number to it.
    pub id: String,
}

/// The messages published for one stored message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub result: bool,
    pub emits: usize,
    /// The result was already stored.
    pub duplicate: bool,
}

impl ResultPublisher {
    /// Publishes emitted events and then the result, except ids already `stored`. The inner error concerns this
    /// message, the outer error the whole run.
    pub async fn send(
        &self,
        bundle: &Bundle,
        target: Target,
        done: Done,
        stored: &HashSet<String>,
    ) -> Result<Result<Published, RunFailure>, OfflineFault> {
        let done = match bundle.fits_server(self.context.client().max_payload(), done) {
            Ok(done) => done,
            Err(failure) => return Ok(Err(RunFailure::new(bundle, &failure))),
        };
        let Target { subject, mut headers, id } = target;
        let mut published = Published { result: done.output.is_some(), emits: done.emits.len(), duplicate: false };
        let mut sent = Vec::new();
        for (number, emit) in done.emits.into_iter().enumerate() {
            let id = format!("{id}/{}", number + 1);
            if !stored.contains(&id) {
                let message = message(&headers, id, emit.payload.into());
                sent.push(self.publish(format!("{subject}.{}", emit.topic), message).await);
            }
        }
        for confirmed in join_all(sent.into_iter().map(|sent| self.storage.confirm(sent))).await {
            if let Err(why) = confirmed? {
                return Ok(Err(why));
            }
        }
        let Some(payload) = done.output else { return Ok(Ok(published)) };
        if stored.contains(&id) {
            published.duplicate = true;
            return Ok(Ok(published));
        }
        headers::write_encoding(&mut headers, done.encoding);
        let sent = self.publish(subject, message(&headers, id, payload)).await;
        match self.storage.confirm(sent).await? {
            Ok(duplicate) => published.duplicate = duplicate,
            Err(why) => return Ok(Err(why)),
        }
        Ok(Ok(published))
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Sent {
        let message = match &self.storage {
            ResultStorage::Stream(_) => message,
            ResultStorage::Any(filters) if filters.iter().any(|filter| filter.matches(&subject)) => message,
            ResultStorage::Any(_) => {
                let message = message.outbound_message(subject);
                let (subject, headers) = (message.subject, message.headers.unwrap_or_default());
                let sent = self.context.client().publish_with_headers(subject, headers, message.payload).await;
                return sent.map(|()| None).map_err(|fault| PublishError::with_source(PublishErrorKind::Other, fault));
            }
        };
        self.context.send_publish(subject, message).await.map(Some)
    }
}

impl ResultStorage {
    /// Returns whether the message was already stored.
    async fn confirm(&self, sent: Sent) -> Result<Result<bool, RunFailure>, OfflineFault> {
        let confirmed = match sent {
            Ok(None) => return Ok(Ok(false)),
            Ok(Some(confirmation)) => confirmation.await,
            Err(fault) => Err(fault),
        };
        Ok(match (confirmed, self) {
            (Ok(ack), Self::Stream(stream)) if ack.stream != *stream => {
                rejected(format!("the stream {} stored it instead of {stream}", ack.stream))
            }
            (Ok(ack), _) => Ok(ack.duplicate),
            (Err(fault), _) if matches!(fault.kind(), PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe) => {
                return Err(OfflineFault::server("publish a result", &fault));
            }
            (Err(fault), _) => rejected(fault),
        })
    }
}

/// The pending confirmation, if any.
type Sent = Result<Option<PublishAckFuture>, PublishError>;

fn message(headers: &HeaderMap, id: String, payload: Bytes) -> PublishMessage {
    PublishMessage::build().headers(headers.clone()).message_id(id).payload(payload)
}

/// A rejection by the stream concerns this message only.
fn rejected(why: impl Display) -> Result<bool, RunFailure> {
    Err(RunFailure { label: "unpublished", text: header_text(&format!("the result cannot be stored: {why}")) })
}
