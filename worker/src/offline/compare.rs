//! Compares new results with the stored ones, and keeps the first differences.
//!
//! Guarantees: memory use is one digest per message and a few examples.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use async_nats::HeaderName;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use inferbus_catalog::{Digest, Mapping, Route, RouteName, SubjectFilter};
use serde_json::Value;

use super::fault::OfflineFault;
use super::position::Position;
use super::source_stream::{MessageRange, SourceStream};
use crate::excerpt::{excerpt, shortened};
use crate::limits;
use crate::stream::names;

/// The stored results of a route, by the sequence of the original message.
#[derive(Debug, Default)]
pub struct StoredResults {
    stored: HashMap<u64, StoredResult>,
}

#[derive(Clone, Copy, Debug)]
struct StoredResult {
    digest: Digest,
    /// Its sequence in the result stream.
    at: u64,
}

/// The comparison of one message's new result with the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Different,
    /// There is a stored result but no new one.
    OnlyStored,
    /// There is a new result but no stored one.
    OnlyNew,
    /// There is neither: the message was filtered out.
    NoResult,
    Failed,
}

/// The new result of a message.
#[derive(Clone, Copy, Debug)]
pub enum NewResult<'a> {
    Output(&'a [u8]),
    NoResult,
    Failed(&'a str),
}

/// Counts per verdict, with examples.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub same: u64,
    pub different: u64,
    pub only_stored: u64,
    pub only_new: u64,
    pub no_result: u64,
    pub failed: u64,
    /// The first differences, by sequence.
    pub differences: BTreeMap<u64, Difference>,
    /// The first failures, by sequence.
    pub failures: BTreeMap<u64, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The sequence of the stored result in the result stream.
    pub stored_at: u64,
    pub stored: Option<String>,
    pub new: Option<String>,
}

/// A digest of the JSON value, or of the bytes if they are not JSON.
pub fn digest(result: &[u8]) -> Digest {
    let canonical = serde_json::from_slice::<Value>(result).ok().and_then(|mut value| {
        value.sort_all_objects();
        serde_json::to_vec(&value).ok()
    });
    Digest::of(canonical.as_deref().unwrap_or(result))
}

impl StoredResults {
    /// Reads the stored results of a range of a route's messages. Skips emitted events and replayed results.
    pub async fn read(
        source: &SourceStream,
        route: (&RouteName, &Route),
        identity: &str,
        from: Option<Position>,
        sequences: RangeInclusive<u64>,
    ) -> Result<Self, OfflineFault> {
        let (name, route) = route;
        let mut results = Self::default();
        let range = MessageRange { filters: vec![filter(route)], from, to: None, headers_only: false };
        let mut messages = source.range(range).await?;
        while let Some(message) = messages.try_next().await? {
            let header = |name: HeaderName| message.headers.get(name).map(|value| value.as_str().to_owned());
            let Some(sequence) = header(names::SEQUENCE).and_then(|sequence| sequence.parse().ok()) else { continue };
            let id = || names::message_id(identity, sequence, name);
            if !sequences.contains(&sequence) || header(NATS_MESSAGE_ID).is_none_or(|found| found != id()) {
                continue;
            }
            let stored = StoredResult { digest: digest(&message.payload), at: message.sequence };
            results.stored.insert(sequence, stored);
            if results.stored.len() as u64 > limits::OFFLINE_MESSAGES {
                let (found, limit) = (results.stored.len() as u64, limits::OFFLINE_MESSAGES);
                return Err(OfflineFault::TooMany { found, limit, split: sequence });
            }
        }
        Ok(results)
    }

    fn compare(&self, sequence: u64, new: NewResult<'_>) -> (Verdict, Option<StoredResult>) {
        let stored = self.stored.get(&sequence).copied();
        let verdict = match (new, stored) {
            (NewResult::Failed(_), _) => Verdict::Failed,
            (NewResult::Output(new), Some(stored)) if digest(new) == stored.digest => Verdict::Same,
            (NewResult::Output(_), Some(_)) => Verdict::Different,
            (NewResult::Output(_), None) => Verdict::OnlyNew,
            (NewResult::NoResult, Some(_)) => Verdict::OnlyStored,
            (NewResult::NoResult, None) => Verdict::NoResult,
        };
        (verdict, stored)
    }
}

/// The subjects of a route's results, if possible without its emitted events' subjects.
fn filter(route: &Route) -> SubjectFilter {
    let output = route.output.as_deref().unwrap_or_default();
    let mapping = route.subject.parse().ok().and_then(|filter| Mapping::new(filter, output).ok());
    let reach = mapping.and_then(|mapping| mapping.reach().pop());
    reach.and_then(|reach| reach.parse().ok()).unwrap_or_else(SubjectFilter::all)
}

impl Comparison {
    /// Counts one message, and keeps it as an example if it is one of the first.
    pub fn count(&mut self, results: &StoredResults, sequence: u64, new: NewResult<'_>) {
        let (verdict, stored) = results.compare(sequence, new);
        *match verdict {
            Verdict::Same => &mut self.same,
            Verdict::Different => &mut self.different,
            Verdict::OnlyStored => &mut self.only_stored,
            Verdict::OnlyNew => &mut self.only_new,
            Verdict::NoResult => &mut self.no_result,
            Verdict::Failed => &mut self.failed,
        } += 1;
        match (new, stored) {
            (NewResult::Failed(why), _) => keep_example(&mut self.failures, sequence, || shortened(why)),
            (NewResult::Output(new), Some(StoredResult { at, .. })) if verdict == Verdict::Different => {
                let new = || Difference { stored_at: at, stored: None, new: Some(excerpt(new)) };
                keep_example(&mut self.differences, sequence, new);
            }
            (NewResult::NoResult, Some(StoredResult { at, .. })) => {
                let new = || Difference { stored_at: at, stored: None, new: None };
                keep_example(&mut self.differences, sequence, new);
            }
            _ => {}
        }
    }

    pub fn messages(&self) -> u64 {
        self.same + self.different + self.only_stored + self.only_new + self.no_result + self.failed
    }

    /// Fetches the stored results of the differences.
    pub async fn complete(&mut self, results: &SourceStream) -> Result<(), OfflineFault> {
        for difference in self.differences.values_mut() {
            difference.stored = results.one(difference.stored_at).await?.map(|stored| excerpt(&stored.payload));
        }
        Ok(())
    }
}

/// Keeps the examples with the lowest sequences: messages end in any order.
fn keep_example<T>(first: &mut BTreeMap<u64, T>, sequence: u64, example: impl FnOnce() -> T) {
    if first.len() < limits::EXAMPLES || first.last_key_value().is_some_and(|(last, _)| sequence < *last) {
        first.insert(sequence, example());
        if first.len() > limits::EXAMPLES {
            first.pop_last();
        }
    }
}

/// The result stream of a route, if it exists.
pub async fn result_stream(
    context: &Context,
    name: &RouteName,
    route: &Route,
) -> Result<Option<SourceStream>, OfflineFault> {
    match SourceStream::open(context, &names::results(name, route)).await {
        Ok(source) => Ok(Some(source)),
        Err(OfflineFault::NoStream(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(stored: &[(u64, &str)]) -> StoredResults {
        let stored = stored.iter().map(|(sequence, result)| {
            (*sequence, StoredResult { digest: digest(result.as_bytes()), at: 100 + sequence })
        });
        StoredResults { stored: stored.collect() }
    }

    #[test]
    fn json_is_compared_by_value_and_other_results_by_bytes() {
        assert_eq!(
            digest(br#"{"a":1,"b":{"d":[2,3],"c":0.50}}"#),
            digest(br#" { "b": {"c": 0.5, "d":[2,3]}, "a":1 }"#)
        );
        assert_ne!(digest(br#"{"a":[1,2]}"#), digest(br#"{"a":[2,1]}"#));
        assert_ne!(digest(b"one"), digest(b"one "));
        assert_ne!(digest(&[0xff]), digest(&[0xfe]));
    }

    #[test]
    fn every_pair_of_results_has_a_verdict() {
        let results = results(&[(1, r#"{"label":1}"#), (2, r#"{"label":2}"#), (3, "x"), (4, "y")]);
        let mut comparison = Comparison::default();
        comparison.count(&results, 1, NewResult::Output(br#"{ "label": 1 }"#));
        comparison.count(&results, 2, NewResult::Output(br#"{"label":7}"#));
        comparison.count(&results, 3, NewResult::NoResult);
        comparison.count(&results, 4, NewResult::Failed("digits 1.1.0 pre: no picture"));
        comparison.count(&results, 5, NewResult::Output(b"new"));
        comparison.count(&results, 6, NewResult::NoResult);
        let Comparison { same, different, only_stored, only_new, no_result, failed, .. } = comparison;
        assert_eq!([same, different, only_stored, only_new, no_result, failed], [1; 6]);
        assert_eq!(comparison.messages(), 6);
        assert_eq!(comparison.differences.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(comparison.differences[&2].new.as_deref(), Some(r#"{"label":7}"#));
        assert_eq!((comparison.differences[&3].stored_at, &comparison.differences[&3].new), (103, &None));
        assert_eq!(comparison.failures[&4], "digits 1.1.0 pre: no picture");
    }

    #[test]
    fn the_first_differences_are_kept_in_any_order_of_arrival() {
        let stored: Vec<(u64, &str)> = (1..=50).map(|sequence| (sequence, "old")).collect();
        let results = results(&stored);
        let mut comparison = Comparison::default();
        for sequence in (1..=50).rev() {
            comparison.count(&results, sequence, NewResult::Output(b"new"));
        }
        assert_eq!(comparison.different, 50);
        assert_eq!(
            comparison.differences.keys().copied().collect::<Vec<_>>(),
            (1..=limits::EXAMPLES as u64).collect::<Vec<_>>()
        );
    }
}
