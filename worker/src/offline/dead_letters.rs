//! The stream of dead letters: what is in it, one with all that belongs to it, and one less.

use std::collections::VecDeque;

use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use inferbus_catalog::{RouteName, SubjectFilter};

use super::fault::OfflineFault;
use super::letter::{self, Letter, Summary};
use super::read::{Range, Source, Stored};
use crate::limits;
use crate::stream::names;

/// Which dead letters.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    pub route: Option<RouteName>,
    pub reason: Option<String>,
}

/// The newest of those that were chosen, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// The newest last.
    pub letters: Vec<Summary>,
    pub chosen: u64,
    pub all: u64,
}

/// What must be known of a dead letter before it is read.
#[derive(Clone, Debug)]
pub struct Pick {
    pub id: u64,
    pub at: DateTime,
    pub route: String,
    pub message_id: String,
}

impl From<Summary> for Pick {
    fn from(Summary { id, at, route, message_id, .. }: Summary) -> Self {
        Self { id, at, route, message_id }
    }
}

#[derive(Clone)]
pub struct DeadLetters {
    context: Context,
    source: Source,
}

impl DeadLetters {
    /// None before the first route of mode `stream`: there is no stream then.
    pub async fn open(context: &Context) -> Result<Option<Self>, OfflineFault> {
        match Source::open(context, names::DEAD_LETTERS).await {
            Ok(source) => Ok(Some(Self { context: context.clone(), source })),
            Err(OfflineFault::NoStream(_)) => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Walks through all of them, without their payloads, and keeps the newest `most` that were chosen.
    pub async fn list(&self, choice: &Choice, most: usize) -> Result<Listing, OfflineFault> {
        let mut newest = VecDeque::new();
        let mut listing = Listing { all: self.source.info.state.messages, ..Default::default() };
        let mut letters = self.source.range(choice.range()).await?;
        while let Some(stored) = letters.try_next().await? {
            let summary = Summary::of(&stored);
            if choice.reason.as_ref().is_some_and(|reason| *reason != summary.reason) {
                continue;
            }
            listing.chosen += 1;
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

    /// All that were chosen, the oldest first.
    pub async fn chosen(&self, choice: &Choice) -> Result<Vec<Pick>, OfflineFault> {
        let most = usize::try_from(limits::OFFLINE_MESSAGES).unwrap_or(usize::MAX);
        let mut chosen = Vec::new();
        let mut letters = self.source.range(choice.range()).await?;
        while let Some(stored) = letters.try_next().await? {
            let summary = Summary::of(&stored);
            if choice.reason.as_ref().is_some_and(|reason| *reason != summary.reason) {
                continue;
            }
            if chosen.len() >= most {
                return Err(OfflineFault::TooManyLetters);
            }
            chosen.push(summary.into());
        }
        Ok(chosen)
    }

    pub async fn summary(&self, id: u64) -> Result<Option<Summary>, OfflineFault> {
        Ok(self.source.one(id).await?.map(|stored| Summary::of(&stored)))
    }

    /// A dead letter with its payload, wherever that is.
    pub async fn letter(&self, id: u64) -> Result<Option<Letter>, OfflineFault> {
        let Some(stored) = self.source.one(id).await? else { return Ok(None) };
        let summary = Summary::of(&stored);
        let Some(left) = summary.payload_left.clone() else {
            let headers = letter::originals(&stored.headers);
            return Ok(Some(Letter { summary, headers, payload: Ok(stored.payload) }));
        };
        let (headers, payload) = match self.left(&summary, &left).await? {
            Ok(Stored { headers, payload, .. }) => (headers, Ok(payload)),
            Err(why) => (letter::originals(&stored.headers), Err(why)),
        };
        Ok(Some(Letter { summary, headers, payload }))
    }

    /// Says whether it was there.
    pub async fn delete(&self, id: u64) -> Result<bool, OfflineFault> {
        self.source.delete(id).await
    }

    /// The message that a letter without a payload is about, unless another one has its place now.
    async fn left(&self, summary: &Summary, left: &str) -> Result<Result<Stored, String>, OfflineFault> {
        let gone = |why: &str| Ok(Err(format!("its payload was left in {left}, and {why}")));
        let Some((name, sequence)) = left.rsplit_once('/') else { return gone("that is no place") };
        let Ok(sequence) = sequence.parse() else { return gone("that is no place") };
        let source = match Source::open(&self.context, name).await {
            Ok(source) => source,
            Err(OfflineFault::NoStream(_)) => return gone("that stream is gone"),
            Err(fault) => return Err(fault),
        };
        if !summary.message_id.starts_with(&format!("{}/{sequence}/", source.identity())) {
            return gone("that stream was made anew");
        }
        match source.one(sequence).await? {
            Some(stored) => Ok(Ok(stored)),
            None => gone("is no longer there"),
        }
    }
}

impl Choice {
    fn range(&self) -> Range {
        let filter = self.route.as_ref().map(|route| format!("inferbus.dlq.{route}.*"));
        let filter = filter.unwrap_or_else(|| names::DEAD_LETTER_SUBJECTS.to_owned());
        // A route's name is one token, so this is always a filter.
        let filter: SubjectFilter = filter.parse().unwrap_or_else(|_| SubjectFilter::all());
        Range { filters: vec![filter], from: None, to: None, headers_only: true }
    }
}
