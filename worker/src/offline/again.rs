//! A stored range of a stream through any version: nothing acknowledged, no live consumer touched, and the results held
//! against the stored ones.

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

use super::compare::{self, End, Results, Tally};
use super::deliver::{Keeper, Parcel, Published, Publisher};
use super::fault::OfflineFault;
use super::position::{self, Position};
use super::read::{Extent, Range, Source, Stored};
use super::run::{self, Ran, Runnable};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::nats::connect;
use crate::requests::reply::result_headers;
use crate::stream::names;

/// What is run again.
pub struct Replay {
    pub context: Context,
    pub source: Source,
    pub filter: SubjectFilter,
    pub from: Option<Position>,
    pub to: Option<Position>,
    pub bundle: Arc<Bundle>,
    pub lanes: usize,
    /// More messages than this are refused.
    pub most: u64,
    /// The route whose messages they are: its stored results are what the new ones are compared with.
    pub route: Option<(RouteName, Route)>,
    /// Where results are published; without it they are only compared.
    pub output: Option<Mapping>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    pub tally: Tally,
    /// Whether there was anything to compare with.
    pub compared: bool,
    /// The least and the greatest sequence that were run.
    pub span: Option<(u64, u64)>,
    pub results: u64,
    pub emits: u64,
    /// Results that an earlier replay had stored.
    pub duplicates: u64,
    /// The subjects that a stream stores, among those published on.
    pub stored: Vec<String>,
}

/// How far it is: messages that have ended, of how many.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub ended: u64,
    pub count: u64,
}

impl Runnable for Stored {
    fn payload(&self) -> Result<Bytes, String> {
        Ok(self.payload.clone())
    }

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }
}

/// One message that has ended.
struct Ended {
    sequence: u64,
    result: Result<Option<Bytes>, String>,
    published: Published,
}

impl Replay {
    pub async fn run(&self, mut progress: impl FnMut(Progress)) -> Result<Summary, OfflineFault> {
        let Extent { count, first, last } = self.extent().await?;
        let (stream, results) = self.results(first.as_ref().map(|first| (first.time, first.sequence..=last))).await?;
        let from = first.map(|first| Position::Sequence(first.sequence)).or(self.from);
        let messages = self.source.range(self.range(from, Some(Position::Sequence(last)))).await?;
        let mut summary = Summary { compared: stream.is_some(), ..Default::default() };
        let publisher = self.publisher().await?;
        let settle = async |ran| self.settle(ran, publisher.as_ref()).await;
        let mut ended = 0;
        run::each(&self.bundle, self.lanes, messages, settle, |end| {
            summary.add(&results, &end);
            ended += 1;
            progress(Progress { ended, count });
        })
        .await?;
        if let Some(stream) = stream {
            summary.tally.complete(&stream).await?;
        }
        if let Some(Publisher { keeper: Keeper::Any(filters), context }) = publisher {
            summary.stored = filters.iter().map(ToString::to_string).collect();
            if !connect::round_trip(&context.client(), limits::OFFLINE_FAREWELL).await {
                return Err(OfflineFault::Unconfirmed);
            }
        }
        Ok(summary)
    }

    fn range(&self, from: Option<Position>, to: Option<Position>) -> Range {
        Range { filters: vec![self.filter.clone()], from, to, headers_only: false }
    }

    async fn extent(&self) -> Result<Extent, OfflineFault> {
        let extent = self.source.extent(&self.range(self.from, self.to)).await?;
        if extent.count > self.most {
            let begin = extent.first.map_or(1, |first| first.sequence);
            let split = begin.saturating_add(self.most.saturating_sub(1));
            return Err(OfflineFault::TooMany { found: extent.count, most: self.most, split });
        }
        Ok(extent)
    }

    /// The stored results to compare with, from about the time of the first message on.
    async fn results(
        &self,
        first: Option<(DateTime, RangeInclusive<u64>)>,
    ) -> Result<(Option<Source>, Results), OfflineFault> {
        let Some((name, route)) = &self.route else { return Ok((None, Results::default())) };
        let ours = route.stream().is_some_and(|options| options.stream.as_str() == self.source.name());
        let stream = if ours { compare::result_stream(&self.context, name, route).await? } else { None };
        let (Some(stream), Some((time, sequences))) = (&stream, first) else { return Ok((stream, Results::default())) };
        let from = position::before(time, limits::CLOCK_SKEW).map(Position::Time);
        let results = Results::read(stream, (name, route), &self.source.identity(), from, sequences).await?;
        Ok((Some(stream.clone()), results))
    }

    async fn publisher(&self) -> Result<Option<Publisher>, OfflineFault> {
        let Some(output) = &self.output else { return Ok(None) };
        let keeper = Keeper::Any(stored_subjects(&self.context, output).await?);
        Ok(Some(Publisher { context: self.context.clone(), keeper }))
    }

    async fn settle(&self, ran: Ran<Stored>, publisher: Option<&Publisher>) -> Result<Ended, OfflineFault> {
        let Ran { message, result, times } = ran;
        let sequence = message.sequence;
        let failed = |text| Ok(Ended { sequence, result: Err(text), published: Published::default() });
        let done = match result {
            Ok(done) => done,
            Err(unrun) => return failed(unrun.text),
        };
        let result = done.output.clone();
        let output = self.output.as_ref().and_then(|output| output.subject(&message.subject));
        let (Some(publisher), Some(output)) = (publisher, output) else {
            return Ok(Ended { sequence, result: Ok(result), published: Published::default() });
        };
        let mut headers = result_headers(&self.bundle, &Span::none(), Some(&message.headers), times);
        let route = self.route.as_ref().map(|(name, _)| name.as_str());
        names::origin(&mut headers, route, self.source.name(), sequence);
        headers.insert(names::REPLAY, "true");
        let parcel = Parcel { id: self.id(sequence, &output), output, headers };
        match publisher.send(&self.bundle, parcel, done, &HashSet::new()).await? {
            Ok(published) => Ok(Ended { sequence, result: Ok(result), published }),
            Err(unrun) => failed(unrun.text),
        }
    }

    /// Never that of a live result; the same again for the same message, bytes of the model, and place.
    fn id(&self, sequence: u64, output: &str) -> String {
        let identity = &self.bundle.identity;
        let route = self.route.as_ref().map_or(identity.model.as_str(), |(name, _)| name.as_str());
        format!("{}/{sequence}/{route}/replay/{}/{output}", self.source.identity(), identity.digest.short())
    }
}

impl Summary {
    fn add(&mut self, results: &Results, ended: &Ended) {
        let Ended { sequence, result, published } = ended;
        let end = match result {
            Ok(Some(result)) => End::Result(result),
            Ok(None) => End::NoResult,
            Err(text) => End::Failed(text),
        };
        self.tally.count(results, *sequence, end);
        let (least, greatest) = self.span.unwrap_or((*sequence, *sequence));
        self.span = Some((least.min(*sequence), greatest.max(*sequence)));
        self.results += u64::from(published.result);
        self.emits += published.emits as u64;
        self.duplicates += u64::from(published.duplicate);
    }
}

/// The subjects of streams that take something of what the output can make.
async fn stored_subjects(context: &Context, output: &Mapping) -> Result<Vec<SubjectFilter>, OfflineFault> {
    #[derive(Deserialize)]
    struct Page {
        streams: Option<Vec<String>>,
    }
    let mut taken = Vec::new();
    for reach in output.reach() {
        let page: Result<Response<Page>, _> = context.request("STREAM.NAMES", &json!({ "subject": reach })).await;
        let page = page.map_err(|fault| OfflineFault::server(format!("ask who stores `{reach}`"), &fault))?;
        let page = match page {
            Response::Ok(page) => page,
            Response::Err { error } => {
                return Err(OfflineFault::server(format!("ask who stores `{reach}`"), &error));
            }
        };
        for stream in page.streams.unwrap_or_default() {
            let subjects = Source::open(context, &stream).await?.info.config.subjects;
            taken.extend(
                subjects.iter().filter(|subject| overlap(subject, &reach)).filter_map(|subject| subject.parse().ok()),
            );
        }
    }
    taken.sort_unstable_by_key(SubjectFilter::to_string);
    taken.dedup();
    Ok(taken)
}
