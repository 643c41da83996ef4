//! The stream of dead letters: lists, reads and deletes them.

use std::collections::VecDeque;

use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use inferbus_catalog::{RouteName, SubjectFilter};

use super::dead_letter::{self, DeadLetter, DeadLetterSummary};
use super::fault::OfflineFault;
use super::source_stream::{MessageRange, SourceStream, StoredMessage};
use crate::limits;
use crate::stream::names;

/// A selection of dead letters.
#[derive(Clone, Debug, Default)]
pub struct LetterFilter {
    pub route: Option<RouteName>,
    pub reason: Option<String>,
}

/// The newest matching dead letters, with counts.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// In order of arrival.
    pub letters: Vec<DeadLetterSummary>,
    /// The number of matching dead letters.
    pub matching: u64,
    pub all: u64,
}

/// A dead letter selected for a command, before its payload is read.
#[derive(Clone, Debug)]
pub struct SelectedLetter {
    pub id: u64,
    pub at: DateTime,
    pub route: String,
    pub message_id: String,
}

impl From<DeadLetterSummary> for SelectedLetter {
    fn from(DeadLetterSummary { id, at, route, message_id, .. }: DeadLetterSummary) -> Self {
        Self { id, at, route, message_id }
    }
}

#[derive(Clone)]
pub struct DeadLetterStream {
    context: Context,
    source: SourceStream,
}

impl DeadLetterStream {
    /// None before the first route of mode `stream`.
    pub async fn open(context: &Context) -> Result<Option<Self>, OfflineFault> {
        match SourceStream::open(context, names::DEAD_LETTERS).await {
            Ok(source) => Ok(Some(Self { context: context.clone(), source })),
            Err(OfflineFault::NoStream(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Reads all dead letters without their payloads, and keeps the newest `most` of the matching ones.
    pub async fn list(&self, filter: &LetterFilter, most: usize) -> Result<Listing, OfflineFault> {
        let mut newest = VecDeque::new();
        let mut listing = Listing { all: self.source.info.state.messages, ..Default::default() };
        let mut letters = self.source.range(filter.range()).await?;
        while let Some(stored) = letters.try_next().await? {
            let summary = DeadLetterSummary::of(&stored);
            if !filter.matches(&summary) {
                continue;
            }
            listing.matching += 1;
            if newest.len() == most {
                newest.pop_front();
            }
            if most > 0 {
                newest.push_back(summary);
            }
        }
        listing.letters = newest.into();
        Ok(listing)
    }

    /// All matching dead letters, the oldest first.
    pub async fn select(&self, filter: &LetterFilter) -> Result<Vec<SelectedLetter>, OfflineFault> {
        let most = usize::try_from(limits::OFFLINE_MESSAGES).unwrap_or(usize::MAX);
        let mut selected = Vec::new();
        let mut letters = self.source.range(filter.range()).await?;
        while let Some(stored) = letters.try_next().await? {
            let summary = DeadLetterSummary::of(&stored);
            if !filter.matches(&summary) {
                continue;
            }
            if selected.len() >= most {
                return Err(OfflineFault::TooManyDeadLetters);
            }
            selected.push(summary.into());
        }
        Ok(selected)
    }

    pub async fn summary(&self, id: u64) -> Result<Option<DeadLetterSummary>, OfflineFault> {
        Ok(self.source.one(id).await?.map(|stored| DeadLetterSummary::of(&stored)))
    }

    /// A dead letter with its payload, even one left in its stream.
    pub async fn letter(&self, id: u64) -> Result<Option<DeadLetter>, OfflineFault> {
        let Some(stored) = self.source.one(id).await? else { return Ok(None) };
        let summary = DeadLetterSummary::of(&stored);
        let Some(left) = summary.payload_left.clone() else {
            let headers = dead_letter::original_headers(&stored.headers);
            return Ok(Some(DeadLetter { summary, headers, payload: Ok(stored.payload) }));
        };
        let (headers, payload) = match self.payload_left(&summary, &left).await? {
            Ok(StoredMessage { headers, payload, .. }) => (headers, Ok(payload)),
            Err(why) => (dead_letter::original_headers(&stored.headers), Err(why)),
        };
        Ok(Some(DeadLetter { summary, headers, payload }))
    }

    /// Returns whether the dead letter existed.
    pub async fn delete(&self, id: u64) -> Result<bool, OfflineFault> {
        self.source.delete(id).await
    }

    /// The original message of a dead letter without a payload, unless its stream was recreated.
    async fn payload_left(
        &self,
        summary: &DeadLetterSummary,
        left: &str,
    ) -> Result<Result<StoredMessage, String>, OfflineFault> {
        let gone = |why: &str| Ok(Err(format!("its payload was left in {left}, and {why}")));
        let Some((name, sequence)) = left.rsplit_once('/') else { return gone("that is not a valid location") };
        let Ok(sequence) = sequence.parse() else { return gone("that is not a valid location") };
        let source = match SourceStream::open(&self.context, name).await {
            Ok(source) => source,
            Err(OfflineFault::NoStream(_)) => return gone("that stream is gone"),
            Err(fault) => return Err(fault),
        };
        if !summary.message_id.starts_with(&format!("{}/{sequence}/", source.identity())) {
            return gone("that stream was recreated");
        }
        match source.one(sequence).await? {
            Some(stored) => Ok(Ok(stored)),
            None => gone("that message is deleted"),
        }
    }
}

impl LetterFilter {
    /// The server filters by route only.
    fn matches(&self, summary: &DeadLetterSummary) -> bool {
        self.reason.as_ref().is_none_or(|reason| *reason == summary.reason)
    }

    fn range(&self) -> MessageRange {
        let filter = self.route.as_ref().map(|route| format!("inferbus.dlq.{route}.*"));
        let filter = filter.unwrap_or_else(|| names::DEAD_LETTER_SUBJECTS.to_owned());
        // Always valid: a route's name is one token.
        let filter: SubjectFilter = filter.parse().unwrap_or_else(|_| SubjectFilter::all());
        MessageRange { filters: vec![filter], from: None, to: None, headers_only: true }
    }
}
