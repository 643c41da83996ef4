//! Replays dead letters: publishes their results as a worker would, then deletes the dead letters.
//!
//! Guarantees: each result is stored once, even after interruptions. A replay first looks up the stored message ids.
//! The server's duplicate window covers the messages of the replay itself.

use std::collections::HashSet;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use inferbus_catalog::{Route, RouteName};
use tracing::Span;

use super::dead_letter::DeadLetter;
use super::dead_letter_stream::{DeadLetterStream, SelectedLetter};
use super::fault::OfflineFault;
use super::position::{self, Position};
use super::publisher::{ResultPublisher, ResultStorage, Target};
use super::run::{self, RunOutcome, Runnable};
use super::source_stream::{MessageRange, SourceStream};
use crate::failpoint;
use crate::limits;
use crate::models::bundle::Bundle;
use crate::nats::headers;
use crate::stream::names;
use inferbus_pipeline::{Done, MessageTimes};

/// A replay of the dead letters of one route, through one version.
pub struct DeadLetterReplay {
    pub context: Context,
    pub letters: DeadLetterStream,
    pub name: RouteName,
    pub route: Route,
    pub bundle: Arc<Bundle>,
    pub lanes: usize,
    /// Run without publishing or deleting.
    pub dry_run: bool,
}

/// A replayed dead letter and its result.
#[derive(Clone, Debug)]
pub struct ReplayedLetter {
    pub id: u64,
    /// The original message as `<stream>/<sequence>`.
    pub message: String,
    pub result: LetterResult,
}

/// The result of one dead letter.
#[derive(Clone, Debug)]
pub enum LetterResult {
    Result {
        subject: String,
        result: Bytes,
        emits: usize,
        duplicate: bool,
    },
    NoResult {
        emits: usize,
    },
    /// The dead letter is kept.
    Failed(String),
}

const GONE: &str = "the dead letter is gone";

/// The publisher of the results, with the ids already stored.
struct Output {
    publisher: ResultPublisher,
    stored: HashSet<String>,
}

/// A fetched dead letter, or one deleted in the meantime.
struct Candidate {
    id: u64,
    letter: Option<DeadLetter>,
    no_headers: HeaderMap,
}

impl Runnable for Candidate {
    fn payload(&self) -> Result<Bytes, String> {
        match &self.letter {
            Some(letter) => letter.payload.clone(),
            None => Err(GONE.into()),
        }
    }

    fn headers(&self) -> &HeaderMap {
        self.letter.as_ref().map_or(&self.no_headers, |letter| &letter.headers)
    }
}

impl DeadLetterReplay {
    /// Replays the selected dead letters, and passes each result to `ended`.
    pub async fn run(
        &self,
        selected: Vec<SelectedLetter>,
        ended: impl FnMut(ReplayedLetter),
    ) -> Result<(), OfflineFault> {
        let stored = if self.dry_run { HashSet::new() } else { self.stored(&selected).await? };
        let storage = ResultStorage::Stream(names::results(&self.name, &self.route));
        let output = Output { publisher: ResultPublisher { context: self.context.clone(), storage }, stored };
        let fetch = async |SelectedLetter { id, .. }| {
            let letter = self.letters.letter(id).await?;
            Ok::<_, OfflineFault>(Candidate { id, letter, no_headers: HeaderMap::new() })
        };
        let candidates = std::pin::pin!(stream::iter(selected).map(fetch).buffered(limits::LETTER_READS));
        let settle = async |ran| self.settle(ran, &output).await;
        run::run_all(&self.bundle, self.lanes, candidates, settle, ended).await
    }

    async fn settle(&self, ran: RunOutcome<Candidate>, output: &Output) -> Result<ReplayedLetter, OfflineFault> {
        let RunOutcome { message: Candidate { id, letter, .. }, result, times } = ran;
        let message = letter.as_ref().map(|letter| letter.summary.message()).unwrap_or_default();
        let result = match (letter, result) {
            (Some(letter), Ok(done)) => self.deliver(&letter, done, times, output).await?,
            (_, Err(failure)) => LetterResult::Failed(failure.text),
            (None, Ok(_)) => LetterResult::Failed(GONE.into()),
        };
        Ok(ReplayedLetter { id, message, result })
    }

    /// Publishes the result of a dead letter, then deletes it.
    async fn deliver(
        &self,
        letter: &DeadLetter,
        done: Done,
        times: MessageTimes,
        output: &Output,
    ) -> Result<LetterResult, OfflineFault> {
        let summary = &letter.summary;
        let Some(subject) = self.route.output_for(&summary.subject) else {
            let text = format!("route {} does not map the subject {} to an output", self.name, summary.subject);
            return Ok(LetterResult::Failed(text));
        };
        if summary.message_id.is_empty() {
            return Ok(LetterResult::Failed("it lacks a message id, so no worker wrote it".into()));
        }
        let emits = done.emits.len();
        let mut result = match done.output.clone() {
            Some(result) => LetterResult::Result { subject: subject.clone(), result, emits, duplicate: false },
            None => LetterResult::NoResult { emits },
        };
        if self.dry_run {
            return Ok(result);
        }
        let mut headers =
            headers::of_message(&self.bundle.headers, &self.bundle.plan, &times, &Span::none(), Some(&letter.headers));
        names::origin(&mut headers, Some(&summary.route), &summary.stream, summary.sequence);
        let target = Target { subject, headers, id: summary.message_id.clone() };
        let published = match output.publisher.send(&self.bundle, target, done, &output.stored).await? {
            Ok(published) => published,
            Err(failure) => return Ok(LetterResult::Failed(failure.text)),
        };
        if let LetterResult::Result { duplicate, .. } = &mut result {
            *duplicate = published.duplicate;
        }
        failpoint::pass(failpoint::CONFIRMED, letter.payload.as_deref().unwrap_or_default());
        self.letters.delete(summary.id).await?;
        Ok(result)
    }

    /// The message ids of these dead letters already in the result stream. The server detects duplicates only within
    /// its duplicate window.
    async fn stored(&self, selected: &[SelectedLetter]) -> Result<HashSet<String>, OfflineFault> {
        let Some(oldest) = selected.iter().map(|letter| letter.at).min() else { return Ok(HashSet::new()) };
        let ids: HashSet<&str> = selected.iter().map(|letter| letter.message_id.as_str()).collect();
        let source = SourceStream::open(&self.context, &names::results(&self.name, &self.route)).await?;
        let mut messages = source.range(self.published_since(oldest)).await?;
        let mut found = HashSet::new();
        while let Some(message) = messages.try_next().await? {
            let Some(id) = message.headers.get(NATS_MESSAGE_ID).map(|id| id.as_str()) else { continue };
            let result_of = id.rsplit_once('/').map_or(id, |(result, _)| result);
            if ids.contains(id) || ids.contains(result_of) {
                found.insert(id.to_owned());
            }
        }
        Ok(found)
    }

    fn published_since(&self, time: DateTime) -> MessageRange {
        let from = position::before(time, limits::CLOCK_SKEW).map(Position::Time);
        let filters = names::result_subjects(&self.route);
        let filters = filters.iter().filter_map(|filter| filter.parse().ok()).collect();
        MessageRange { filters, from, to: None, headers_only: true }
    }
}
