//! New results against the stored ones: which are the same, which are not, and a few of those in words.
//!
//! Promises: of each message only a digest is kept, and of the differences only the first few.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use async_nats::HeaderName;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::Context;
use futures_util::TryStreamExt as _;
use inferbus_catalog::{Digest, Mapping, Route, RouteName, SubjectFilter};
use serde_json::Value;

use super::excerpt::{excerpt, shortened};
use super::fault::OfflineFault;
use super::position::Position;
use super::read::{Range, Source};
use crate::limits;
use crate::stream::names;

/// The results that are stored for a route, by the sequence of their messages.
#[derive(Debug, Default)]
pub struct Results {
    stored: HashMap<u64, StoredResult>,
}

#[derive(Clone, Copy, Debug)]
struct StoredResult {
    digest: Digest,
    /// Its own sequence, in the stream of results.
    at: u64,
}

/// How one message's new end stands to the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Same,
    Different,
    /// There is a stored result, and now there is none.
    OnlyStored,
    /// There is a result now, and none is stored.
    OnlyNew,
    /// Neither: the message was filtered out.
    NoResult,
    Failed,
}

/// What came of a message now.
#[derive(Clone, Copy, Debug)]
pub enum End<'a> {
    Result(&'a [u8]),
    NoResult,
    Failed(&'a str),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub same: u64,
    pub different: u64,
    pub only_stored: u64,
    pub only_new: u64,
    pub no_result: u64,
    pub failed: u64,
    /// The first messages whose result is another one.
    pub differences: BTreeMap<u64, Difference>,
    /// The first failures, by sequence.
    pub failures: BTreeMap<u64, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where the stored result is, in the stream of results.
    pub stored_at: u64,
    pub stored: Option<String>,
    pub new: Option<String>,
}

/// Equal for equal JSON values however they are written, and else for equal bytes only.
pub fn digest(result: &[u8]) -> Digest {
    let canonical = serde_json::from_slice::<Value>(result).ok().and_then(|mut value| {
        value.sort_all_objects();
        serde_json::to_vec(&value).ok()
    });
    Digest::of(canonical.as_deref().unwrap_or(result))
}

impl Results {
    /// Reads every result that is stored for some of a route's messages. Emitted events and what replays made are left
    /// aside.
    pub async fn read(
        source: &Source,
        route: (&RouteName, &Route),
        identity: &str,
        from: Option<Position>,
        sequences: RangeInclusive<u64>,
    ) -> Result<Self, OfflineFault> {
        let (name, route) = route;
        let mut results = Self::default();
        let range = Range { filters: vec![filter(route)], from, to: None, headers_only: false };
        let mut messages = source.range(range).await?;
        while let Some(message) = messages.try_next().await? {
            let header = |name: HeaderName| message.headers.get(name).map(|value| value.as_str().to_owned());
            let Some(sequence) = header(names::SEQUENCE).and_then(|sequence| sequence.parse().ok()) else { continue };
            let id = || names::message_id(identity, sequence, name);
            if !sequences.contains(&sequence) || header(NATS_MESSAGE_ID).is_none_or(|given| given != id()) {
                continue;
            }
            let stored = StoredResult { digest: digest(&message.payload), at: message.sequence };
            results.stored.insert(sequence, stored);
            if results.stored.len() as u64 > limits::OFFLINE_MESSAGES {
                let (found, most) = (results.stored.len() as u64, limits::OFFLINE_MESSAGES);
                return Err(OfflineFault::TooMany { found, most, split: sequence });
            }
        }
        Ok(results)
    }

    fn compare(&self, sequence: u64, end: End<'_>) -> (Verdict, Option<StoredResult>) {
        let stored = self.stored.get(&sequence).copied();
        let verdict = match (end, stored) {
            (End::Failed(_), _) => Verdict::Failed,
            (End::Result(new), Some(stored)) if digest(new) == stored.digest => Verdict::Same,
            (End::Result(_), Some(_)) => Verdict::Different,
            (End::Result(_), None) => Verdict::OnlyNew,
            (End::NoResult, Some(_)) => Verdict::OnlyStored,
            (End::NoResult, None) => Verdict::NoResult,
        };
        (verdict, stored)
    }
}

/// The subjects of a route's results. Those of its emitted events are left out where the output allows it.
fn filter(route: &Route) -> SubjectFilter {
    let output = route.output.as_deref().unwrap_or_default();
    let mapping = route.subject.parse().ok().and_then(|filter| Mapping::new(filter, output).ok());
    let reach = mapping.and_then(|mapping| mapping.reach().pop());
    reach.and_then(|reach| reach.parse().ok()).unwrap_or_else(SubjectFilter::all)
}

impl Tally {
    /// Counts one message, and remembers it if it is among the first that are worth telling.
    pub fn count(&mut self, results: &Results, sequence: u64, end: End<'_>) {
        let (verdict, stored) = results.compare(sequence, end);
        *match verdict {
            Verdict::Same => &mut self.same,
            Verdict::Different => &mut self.different,
            Verdict::OnlyStored => &mut self.only_stored,
            Verdict::OnlyNew => &mut self.only_new,
            Verdict::NoResult => &mut self.no_result,
            Verdict::Failed => &mut self.failed,
        } += 1;
        match (end, stored) {
            (End::Failed(why), _) => remember(&mut self.failures, sequence, || shortened(why)),
            (End::Result(new), Some(StoredResult { at, .. })) if verdict == Verdict::Different => {
                let new = || Difference { stored_at: at, stored: None, new: Some(excerpt(new)) };
                remember(&mut self.differences, sequence, new);
            }
            (End::NoResult, Some(StoredResult { at, .. })) => {
                let new = || Difference { stored_at: at, stored: None, new: None };
                remember(&mut self.differences, sequence, new);
            }
            _ => {}
        }
    }

    pub fn messages(&self) -> u64 {
        self.same + self.different + self.only_stored + self.only_new + self.no_result + self.failed
    }

    /// Fetches the stored side of the differences.
    pub async fn complete(&mut self, results: &Source) -> Result<(), OfflineFault> {
        for difference in self.differences.values_mut() {
            difference.stored = results.one(difference.stored_at).await?.map(|stored| excerpt(&stored.payload));
        }
        Ok(())
    }
}

/// Messages end in any order, so a later one gives way to an earlier one.
fn remember<T>(first: &mut BTreeMap<u64, T>, sequence: u64, example: impl FnOnce() -> T) {
    if first.len() < limits::EXAMPLES || first.last_key_value().is_some_and(|(last, _)| sequence < *last) {
        first.insert(sequence, example());
        if first.len() > limits::EXAMPLES {
            first.pop_last();
        }
    }
}

/// The stream of a route's results, if it is there.
pub async fn result_stream(context: &Context, name: &RouteName, route: &Route) -> Result<Option<Source>, OfflineFault> {
    match Source::open(context, &names::results(name, route)).await {
        Ok(source) => Ok(Some(source)),
        Err(OfflineFault::NoStream(_)) => Ok(None),
        Err(fault) => Err(fault),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(stored: &[(u64, &str)]) -> Results {
        let stored = stored.iter().map(|(sequence, result)| {
            (*sequence, StoredResult { digest: digest(result.as_bytes()), at: 100 + sequence })
        });
        Results { stored: stored.collect() }
    }

    #[test]
    fn json_is_compared_by_value_and_all_else_by_bytes() {
        assert_eq!(
            digest(br#"{"a":1,"b":{"d":[2,3],"c":0.50}}"#),
            digest(br#" { "b": {"c": 0.5, "d":[2,3]}, "a":1 }"#)
        );
        assert_ne!(digest(br#"{"a":[1,2]}"#), digest(br#"{"a":[2,1]}"#));
        assert_ne!(digest(b"one"), digest(b"one "));
        assert_ne!(digest(&[0xff]), digest(&[0xfe]));
    }

    #[test]
    fn every_pair_of_ends_has_its_verdict() {
        let results = results(&[(1, r#"{"label":1}"#), (2, r#"{"label":2}"#), (3, "x"), (4, "y")]);
        let mut tally = Tally::default();
        tally.count(&results, 1, End::Result(br#"{ "label": 1 }"#));
        tally.count(&results, 2, End::Result(br#"{"label":7}"#));
        tally.count(&results, 3, End::NoResult);
        tally.count(&results, 4, End::Failed("digits 1.1.0 pre: no picture"));
        tally.count(&results, 5, End::Result(b"new"));
        tally.count(&results, 6, End::NoResult);
        let Tally { same, different, only_stored, only_new, no_result, failed, .. } = tally;
        assert_eq!([same, different, only_stored, only_new, no_result, failed], [1; 6]);
        assert_eq!(tally.messages(), 6);
        assert_eq!(tally.differences.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(tally.differences[&2].new.as_deref(), Some(r#"{"label":7}"#));
        assert_eq!((tally.differences[&3].stored_at, &tally.differences[&3].new), (103, &None));
        assert_eq!(tally.failures[&4], "digits 1.1.0 pre: no picture");
    }

    #[test]
    fn the_first_differences_are_kept_in_whatever_order_they_come() {
        let stored: Vec<(u64, &str)> = (1..=50).map(|sequence| (sequence, "old")).collect();
        let results = results(&stored);
        let mut tally = Tally::default();
        for sequence in (1..=50).rev() {
            tally.count(&results, sequence, End::Result(b"new"));
        }
        assert_eq!(tally.different, 50);
        assert_eq!(
            tally.differences.keys().copied().collect::<Vec<_>>(),
            (1..=limits::EXAMPLES as u64).collect::<Vec<_>>()
        );
    }
}
