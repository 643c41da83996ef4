//! Dead letters tried again: what a worker would have published is published, and only then is the letter deleted.
//!
//! Promises: however often this is cut off and begun again, each result is stored once: ids that are stored already are
//! looked up first, and the server keeps away what is sent twice meanwhile.

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

use super::dead_letters::{DeadLetters, Pick};
use super::deliver::{Keeper, Parcel, Publisher};
use super::fault::OfflineFault;
use super::letter::Letter;
use super::position::{self, Position};
use super::read::{Range, Source};
use super::run::{self, Ran, Runnable};
use crate::failpoint;
use crate::job::{Done, StageTimes};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::requests::reply::result_headers;
use crate::stream::names;

/// The dead letters of one route, and the version that they are tried with.
pub struct Again {
    pub context: Context,
    pub letters: DeadLetters,
    pub name: RouteName,
    pub route: Route,
    pub bundle: Arc<Bundle>,
    pub lanes: usize,
    /// Only says what would come: nothing is published, and nothing deleted.
    pub dry: bool,
}

/// How one dead letter ended.
#[derive(Clone, Debug)]
pub struct Redone {
    pub id: u64,
    /// The message as `<stream>/<sequence>`.
    pub message: String,
    pub end: End,
}

#[derive(Clone, Debug)]
pub enum End {
    Result {
        subject: String,
        result: Bytes,
        emits: usize,
        duplicate: bool,
    },
    NoResult {
        emits: usize,
    },
    /// It stays a dead letter.
    Failed(String),
}

const GONE: &str = "there is no such dead letter any more";

/// How results get to where they belong, and which are there already.
struct Way {
    publisher: Publisher,
    stored: HashSet<String>,
}

/// A dead letter on its way, or one that was gone when its turn came.
struct Candidate {
    id: u64,
    letter: Option<Letter>,
    none: HeaderMap,
}

impl Runnable for Candidate {
    fn payload(&self) -> Result<Bytes, String> {
        match &self.letter {
            Some(letter) => letter.payload.clone(),
            None => Err(GONE.into()),
        }
    }

    fn headers(&self) -> &HeaderMap {
        self.letter.as_ref().map_or(&self.none, |letter| &letter.headers)
    }
}

impl Again {
    /// Tries these dead letters, and says of each how it ended.
    pub async fn run(&self, picks: Vec<Pick>, ended: impl FnMut(Redone)) -> Result<(), OfflineFault> {
        let stored = if self.dry { HashSet::new() } else { self.stored(&picks).await? };
        let keeper = Keeper::Stream(names::results(&self.name, &self.route));
        let way = Way { publisher: Publisher { context: self.context.clone(), keeper }, stored };
        let fetch = async |Pick { id, .. }| {
            let letter = self.letters.letter(id).await?;
            Ok::<_, OfflineFault>(Candidate { id, letter, none: HeaderMap::new() })
        };
        let candidates = std::pin::pin!(stream::iter(picks).map(fetch).buffered(limits::LETTER_READS));
        let settle = async |ran| self.settle(ran, &way).await;
        run::each(&self.bundle, self.lanes, candidates, settle, ended).await
    }

    async fn settle(&self, ran: Ran<Candidate>, way: &Way) -> Result<Redone, OfflineFault> {
        let Ran { message: Candidate { id, letter, .. }, result, times } = ran;
        let message = letter.as_ref().map(|letter| letter.summary.message()).unwrap_or_default();
        let end = match (letter, result) {
            (Some(letter), Ok(done)) => self.deliver(&letter, done, times, way).await?,
            (_, Err(unrun)) => End::Failed(unrun.text),
            (None, Ok(_)) => End::Failed(GONE.into()),
        };
        Ok(Redone { id, message, end })
    }

    /// Publishes what came of a letter, and then deletes it.
    async fn deliver(&self, letter: &Letter, done: Done, times: StageTimes, way: &Way) -> Result<End, OfflineFault> {
        let summary = &letter.summary;
        let Some(output) = self.route.output_for(&summary.subject) else {
            return Ok(End::Failed(format!("route {} makes no output of the subject {}", self.name, summary.subject)));
        };
        if summary.message_id.is_empty() {
            return Ok(End::Failed("it names no message id, so no worker wrote it".into()));
        }
        let emits = done.emits.len();
        let mut end = match done.output.clone() {
            Some(result) => End::Result { subject: output.clone(), result, emits, duplicate: false },
            None => End::NoResult { emits },
        };
        if self.dry {
            return Ok(end);
        }
        let mut headers = result_headers(&self.bundle, &Span::none(), Some(&letter.headers), times);
        names::origin(&mut headers, Some(&summary.route), &summary.stream, summary.sequence);
        let parcel = Parcel { output, headers, id: summary.message_id.clone() };
        let published = match way.publisher.send(&self.bundle, parcel, done, &way.stored).await? {
            Ok(published) => published,
            Err(unrun) => return Ok(End::Failed(unrun.text)),
        };
        if let End::Result { duplicate, .. } = &mut end {
            *duplicate = published.duplicate;
        }
        failpoint::pass(failpoint::CONFIRMED, letter.payload.as_deref().unwrap_or_default());
        self.letters.delete(summary.id).await?;
        Ok(end)
    }

    /// Which of these letters' message ids are stored already: beyond its duplicate window the server does not know them.
    async fn stored(&self, picks: &[Pick]) -> Result<HashSet<String>, OfflineFault> {
        let Some(oldest) = picks.iter().map(|pick| pick.at).min() else { return Ok(HashSet::new()) };
        let ids: HashSet<&str> = picks.iter().map(|pick| pick.message_id.as_str()).collect();
        let source = Source::open(&self.context, &names::results(&self.name, &self.route)).await?;
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

    fn published_since(&self, time: DateTime) -> Range {
        let from = position::before(time, limits::CLOCK_SKEW).map(Position::Time);
        let filters = names::result_subjects(&self.route);
        let filters = filters.iter().filter_map(|filter| filter.parse().ok()).collect();
        Range { filters, from, to: None, headers_only: true }
    }
}
