//! Replays a stored range of a stream through any version, and compares the results with the stored ones.
//!
//! Guarantees: it does not acknowledge messages, and it does not touch live consumers.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use async_nats::HeaderMap;
use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use async_nats::jetstream::response::Response;
use bytes::Bytes;
use inferbus_catalog::{Mapping, Route, RouteName, SubjectFilter, overlap};
use serde::Deserialize;
use serde_json::json;
use tracing::Span;

use super::compare::{self, Comparison, NewResult, StoredResults};
use super::fault::OfflineFault;
use super::position::{self, Position};
use super::publisher::{Published, ResultPublisher, ResultStorage, Target};
use super::run::{self, RunOutcome, Runnable};
use super::source_stream::{Extent, MessageRange, SourceStream, StoredMessage};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::nats::connect;
use crate::nats::headers;
use crate::stream::names;

/// The range and the version of a replay.
pub struct Replay {
    pub context: Context,
    pub source: SourceStream,
    pub filter: SubjectFilter,
    pub from: Option<Position>,
    pub to: Option<Position>,
    pub bundle: Arc<Bundle>,
    pub lanes: usize,
    /// The largest accepted range, in messages.
    pub max_messages: u64,
    /// The route of the messages, to compare with its stored results.
    pub route: Option<(RouteName, Route)>,
    /// The subject of published results. None: only compare.
    pub output: Option<Mapping>,
}

/// The outcome of a replay.
#[derive(Debug, Default)]
pub struct ReplaySummary {
    pub comparison: Comparison,
    /// Whether there were stored results to compare with.
    pub compared: bool,
    /// The lowest and the highest replayed sequence.
    pub span: Option<(u64, u64)>,
    pub results: u64,
    pub emits: u64,
    /// Results already stored by an earlier replay.
    pub duplicates: u64,
    /// The published subjects stored by a stream.
    pub stored: Vec<String>,
}

/// The number of ended messages, and of all.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub ended: u64,
    pub count: u64,
}

impl Runnable for StoredMessage {
    fn payload(&self) -> Result<Bytes, String> {
        Ok(self.payload.clone())
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// One replayed message.
struct Ended {
    sequence: u64,
    result: Result<Option<Bytes>, String>,
    published: Published,
}

impl Replay {
    pub async fn run(&self, mut progress: impl FnMut(Progress)) -> Result<ReplaySummary, OfflineFault> {
        let Extent { count, first, last } = self.extent().await?;
        let (stream, results) = self.results(first.as_ref().map(|first| (first.time, first.sequence..=last))).await?;
        let from = first.map(|first| Position::Sequence(first.sequence)).or(self.from);
        let messages = self.source.range(self.range(from, Some(Position::Sequence(last)))).await?;
        let mut summary = ReplaySummary { compared: stream.is_some(), ..Default::default() };
        let publisher = self.publisher().await?;
        let settle = async |ran| self.settle(ran, publisher.as_ref()).await;
        let mut ended = 0;
        run::run_all(&self.bundle, self.lanes, messages, settle, |end| {
            summary.add(&results, &end);
            ended += 1;
            progress(Progress { ended, count });
        })
        .await?;
        if let Some(stream) = stream {
            summary.comparison.complete(&stream).await?;
        }
        if let Some(ResultPublisher { storage: ResultStorage::Any(filters), context }) = publisher {
            summary.stored = filters.iter().map(ToString::to_string).collect();
            if !connect::round_trip(&context.client(), limits::OFFLINE_FAREWELL).await {
                return Err(OfflineFault::Unconfirmed);
            }
        }
        Ok(summary)
    }

    fn range(&self, from: Option<Position>, to: Option<Position>) -> MessageRange {
        MessageRange { filters: vec![self.filter.clone()], from, to, headers_only: false }
    }

    async fn extent(&self) -> Result<Extent, OfflineFault> {
        let extent = self.source.extent(&self.range(self.from, self.to)).await?;
        if extent.count > self.max_messages {
            let begin = extent.first.map_or(1, |first| first.sequence);
            let split = begin.saturating_add(self.max_messages.saturating_sub(1));
            return Err(OfflineFault::TooMany { found: extent.count, limit: self.max_messages, split });
        }
        Ok(extent)
    }

    /// The stored results to compare with, starting shortly before the first message.
    async fn results(
        &self,
        first: Option<(DateTime, RangeInclusive<u64>)>,
    ) -> Result<(Option<SourceStream>, StoredResults), OfflineFault> {
        let Some((name, route)) = &self.route else { return Ok((None, StoredResults::default())) };
        let same_stream = route.stream().is_some_and(|options| options.stream.as_str() == self.source.name());
        let stream = if same_stream { compare::result_stream(&self.context, name, route).await? } else { None };
        let (Some(stream), Some((time, sequences))) = (&stream, first) else {
            return Ok((stream, StoredResults::default()));
        };
        let from = position::before(time, limits::CLOCK_SKEW).map(Position::Time);
        let results = StoredResults::read(stream, (name, route), &self.source.identity(), from, sequences).await?;
        Ok((Some(stream.clone()), results))
    }

    async fn publisher(&self) -> Result<Option<ResultPublisher>, OfflineFault> {
        let Some(output) = &self.output else { return Ok(None) };
        let storage = ResultStorage::Any(stored_subjects(&self.context, output).await?);
        Ok(Some(ResultPublisher { context: self.context.clone(), storage }))
    }

    async fn settle(
        &self,
        ran: RunOutcome<StoredMessage>,
        publisher: Option<&ResultPublisher>,
    ) -> Result<Ended, OfflineFault> {
        let RunOutcome { message, result, times } = ran;
        let sequence = message.sequence;
        let failed = |text| Ok(Ended { sequence, result: Err(text), published: Published::default() });
        let done = match result {
            Ok(done) => done,
            Err(failure) => return failed(failure.text),
        };
        let result = done.output.clone();
        let subject = self.output.as_ref().and_then(|output| output.subject(&message.subject));
        let (Some(publisher), Some(subject)) = (publisher, subject) else {
            return Ok(Ended { sequence, result: Ok(result), published: Published::default() });
        };
        let mut headers =
            headers::of_message(&self.bundle.headers, &self.bundle.plan, &times, &Span::none(), Some(&message.headers));
        let route = self.route.as_ref().map(|(name, _)| name.as_str());
        names::origin(&mut headers, route, self.source.name(), sequence);
        headers.insert(names::REPLAY, "true");
        let target = Target { id: self.message_id(sequence, &subject), subject, headers };
        match publisher.send(&self.bundle, target, done, &HashSet::new()).await? {
            Ok(published) => Ok(Ended { sequence, result: Ok(result), published }),
            Err(failure) => failed(failure.text),
        }
    }

    /// Different from the id of any live result. The same for the same message, model and subject.
    fn message_id(&self, sequence: u64, subject: &str) -> String {
        let identity = &self.bundle.identity;
        let route = self.route.as_ref().map_or(identity.model.as_str(), |(name, _)| name.as_str());
        format!("{}/{sequence}/{route}/replay/{}/{subject}", self.source.identity(), identity.digest.short())
    }
}

impl ReplaySummary {
    fn add(&mut self, results: &StoredResults, ended: &Ended) {
        let Ended { sequence, result, published } = ended;
        let end = match result {
            Ok(Some(result)) => NewResult::Output(result),
            Ok(None) => NewResult::NoResult,
            Err(text) => NewResult::Failed(text),
        };
        self.comparison.count(results, *sequence, end);
        let (lowest, highest) = self.span.unwrap_or((*sequence, *sequence));
        self.span = Some((lowest.min(*sequence), highest.max(*sequence)));
        self.results += u64::from(published.result);
        self.emits += published.emits as u64;
        self.duplicates += u64::from(published.duplicate);
    }
}

/// The stream subjects overlapping the possible subjects of the output.
async fn stored_subjects(context: &Context, output: &Mapping) -> Result<Vec<SubjectFilter>, OfflineFault> {
    #[derive(Deserialize)]
    struct Page {
        streams: Option<Vec<String>>,
    }
    let mut stored = Vec::new();
    for reach in output.reach() {
        let page: Result<Response<Page>, _> = context.request("STREAM.NAMES", &json!({ "subject": reach })).await;
        let page = page.map_err(|fault| OfflineFault::server(format!("find the streams of `{reach}`"), &fault))?;
        let page = match page {
            Response::Ok(page) => page,
            Response::Err { error } => {
                return Err(OfflineFault::server(format!("find the streams of `{reach}`"), &error));
            }
        };
        for stream in page.streams.unwrap_or_default() {
            let subjects = SourceStream::open(context, &stream).await?.info.config.subjects;
            stored.extend(
                subjects.iter().filter(|subject| overlap(subject, &reach)).filter_map(|subject| subject.parse().ok()),
            );
        }
    }
    stored.sort_unstable_by_key(SubjectFilter::to_string);
    stored.dedup();
    Ok(stored)
}
