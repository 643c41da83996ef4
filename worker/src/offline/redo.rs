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
use super::deliver::{Keeper, Parcel, Published, Publisher};
use super::fault::OfflineFault;
use super::letter::Letter;
use super::position::{self, Position};
use super::read::{Range, Source};
use super::run::{self, Ran, Runnable};
use crate::bundle::Bundle;
use crate::failpoint;
use crate::limits;
use crate::publish::result_headers;
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
            None => Err("there is no such dead letter any more".into()),
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
        let publisher = Publisher {
            context: self.context.clone(),
            keeper: Keeper::Stream(names::results(&self.name, &self.route)),
        };
        let fetch = async |Pick { id, .. }| {
            let letter = self.letters.letter(id).await?;
            Ok::<_, OfflineFault>(Candidate { id, letter, none: HeaderMap::new() })
        };
        let candidates = std::pin::pin!(stream::iter(picks).map(fetch).buffered(limits::LETTER_READS));
        let settle = async |ran| self.settle(ran, &publisher, &stored).await;
        run::each(&self.bundle, self.lanes, candidates, settle, ended).await
    }

    async fn settle(
        &self,
        ran: Ran<Candidate>,
        publisher: &Publisher,
        stored: &HashSet<String>,
    ) -> Result<Redone, OfflineFault> {
        let Ran { message: Candidate { id, letter, .. }, result, times } = ran;
        let message = letter.as_ref().map(|letter| letter.summary.message()).unwrap_or_default();
        let redone = |end| Ok(Redone { id, message, end });
        let (letter, done) = match (letter, result) {
            (Some(letter), Ok(done)) => (letter, done),
            (_, Err(unrun)) => return redone(End::Failed(unrun.text)),
            (None, Ok(_)) => return redone(End::Failed("there is no such dead letter any more".into())),
        };
        let summary = &letter.summary;
        let Some(subject) = self.route.output_for(&summary.subject) else {
            let text = format!("route {} makes no output of the subject {}", self.name, summary.subject);
            return redone(End::Failed(text));
        };
        if summary.message_id.is_empty() {
            return redone(End::Failed("it names no message id, so no worker wrote it".into()));
        }
        let (result, emits) = (done.output.clone(), done.emits.len());
        let end = |duplicate| match result.clone() {
            Some(result) => End::Result { subject: subject.clone(), result, emits, duplicate },
            None => End::NoResult { emits },
        };
        if self.dry {
            return redone(end(false));
        }
        let mut headers = result_headers(&self.bundle, &Span::none(), Some(&letter.headers), times);
        names::origin(&mut headers, Some(&summary.route), &summary.stream, summary.sequence);
        let parcel = Parcel { output: subject.clone(), headers, id: summary.message_id.clone() };
        let published = match publisher.send(&self.bundle, parcel, done, stored).await? {
            Ok(Published { duplicate, .. }) => duplicate,
            Err(unrun) => return redone(End::Failed(unrun.text)),
        };
        failpoint::pass(failpoint::CONFIRMED, letter.payload.as_deref().unwrap_or_default());
        self.letters.delete(id).await?;
        redone(end(published))
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
