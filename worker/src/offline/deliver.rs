//! What came of a stored message, published as a worker would: emitted events, then the result, each confirmed.

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
use super::run::{self, Unrun};
use crate::job::Done;
use crate::models::bundle::Bundle;
use crate::outcome::header_text;
use crate::requests::reply::fits;

/// Whether what is published must be stored, and by whom.
#[derive(Clone, Debug)]
pub enum Keeper {
    /// This stream, and no other one.
    Stream(String),
    /// Whichever stream takes one of these subjects; what none takes is published once and not confirmed.
    Any(Vec<SubjectFilter>),
}

#[derive(Clone)]
pub struct Publisher {
    pub context: Context,
    pub keeper: Keeper,
}

/// Where what came of one message goes, and what it says of itself.
pub struct Parcel {
    pub output: String,
    pub headers: HeaderMap,
    /// The result's message id, to which emitted events append their number.
    pub id: String,
}

/// What was published for one message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Published {
    pub result: bool,
    pub emits: usize,
    /// The result was stored already.
    pub duplicate: bool,
}

impl Publisher {
    /// Publishes emitted events and then the result, but for ids that are `stored` already. The inner error is the message's own; the outer one is everybody's.
    pub async fn send(
        &self,
        bundle: &Bundle,
        parcel: Parcel,
        done: Done,
        stored: &HashSet<String>,
    ) -> Result<Result<Published, Unrun>, OfflineFault> {
        let done = match fits(self.context.client().max_payload(), done) {
            Ok(done) => done,
            Err(failure) => return Ok(Err(run::unrun(bundle, &failure))),
        };
        let Parcel { output, mut headers, id } = parcel;
        let mut published = Published { result: done.output.is_some(), emits: done.emits.len(), duplicate: false };
        let mut sent = Vec::new();
        for (number, emit) in done.emits.into_iter().enumerate() {
            let id = format!("{id}/{}", number + 1);
            if !stored.contains(&id) {
                let message = message(&headers, id, emit.payload.into());
                sent.push(self.publish(format!("{output}.{}", emit.topic), message).await);
            }
        }
        for confirmed in join_all(sent.into_iter().map(|sent| self.keeper.confirm(sent))).await {
            if let Err(why) = confirmed? {
                return Ok(Err(why));
            }
        }
        let Some(payload) = done.output else { return Ok(Ok(published)) };
        if stored.contains(&id) {
            published.duplicate = true;
            return Ok(Ok(published));
        }
        done.written.say(&mut headers);
        let sent = self.publish(output, message(&headers, id, payload)).await;
        match self.keeper.confirm(sent).await? {
            Ok(duplicate) => published.duplicate = duplicate,
            Err(why) => return Ok(Err(why)),
        }
        Ok(Ok(published))
    }

    async fn publish(&self, subject: String, message: PublishMessage) -> Sent {
        let message = match &self.keeper {
            Keeper::Stream(_) => message,
            Keeper::Any(filters) if filters.iter().any(|filter| filter.matches(&subject)) => message,
            Keeper::Any(_) => {
                let message = message.outbound_message(subject);
                let (subject, headers) = (message.subject, message.headers.unwrap_or_default());
                let sent = self.context.client().publish_with_headers(subject, headers, message.payload).await;
                return sent.map(|()| None).map_err(|fault| PublishError::with_source(PublishErrorKind::Other, fault));
            }
        };
        self.context.send_publish(subject, message).await.map(Some)
    }
}

impl Keeper {
    /// Whether the message was stored already.
    async fn confirm(&self, sent: Sent) -> Result<Result<bool, Unrun>, OfflineFault> {
        let confirmed = match sent {
            Ok(None) => return Ok(Ok(false)),
            Ok(Some(confirmation)) => confirmation.await,
            Err(fault) => Err(fault),
        };
        Ok(match (confirmed, self) {
            (Ok(ack), Self::Stream(stream)) if ack.stream != *stream => {
                refused(format!("the stream {} has it, and it belongs to {stream}", ack.stream))
            }
            (Ok(ack), _) => Ok(ack.duplicate),
            (Err(fault), _) if matches!(fault.kind(), PublishErrorKind::TimedOut | PublishErrorKind::BrokenPipe) => {
                return Err(OfflineFault::server("publish a result", &fault));
            }
            (Err(fault), _) => refused(fault),
        })
    }
}

/// The confirmation to wait for, if there will be one.
type Sent = Result<Option<PublishAckFuture>, PublishError>;

fn message(headers: &HeaderMap, id: String, payload: Bytes) -> PublishMessage {
    PublishMessage::build().headers(headers.clone()).message_id(id).payload(payload)
}

/// A stream that refuses a message says so of this message alone.
fn refused(why: impl Display) -> Result<bool, Unrun> {
    Err(Unrun { label: "unpublished", text: header_text(&format!("the result cannot be stored: {why}")) })
}
