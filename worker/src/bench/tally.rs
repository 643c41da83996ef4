//! What became of the requests for one target: counts, latencies, and the first example of whatever went wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use crate::limits;

/// In nanoseconds; what is longer counts as the longest. Three digits are kept of each.
const SHORTEST: u64 = 100;
const LONGEST: u64 = limits::BENCH_MOST_WAIT.as_nanos() as u64 * 4;
const DIGITS: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Right,
    /// Nobody knows what the right answer is.
    Unchecked,
    /// Not the answer that was expected.
    Wrong(String),
    /// Not the answer that the same payload had first.
    Differs(String),
    /// An error with its code.
    Failed {
        code: String,
        text: String,
    },
}

#[derive(Clone, Debug)]
pub struct Tally {
    pub asked: u64,
    pub not_sent: u64,
    pub right: u64,
    pub unchecked: u64,
    pub wrong: u64,
    pub differs: u64,
    pub lost: u64,
    /// Outstanding when the run was ended by hand.
    pub unfinished: u64,
    pub errors: BTreeMap<String, Errors>,
    /// The first of what was wrong, differed or was lost.
    pub examples: Vec<String>,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
}

/// The errors of one code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    pub count: u64,
    pub first: String,
}

/// Stands for all codes beyond those that are told apart.
const OTHERS: &str = "other";

impl Tally {
    pub fn new() -> Result<Self, CreationError> {
        let histogram = || Histogram::new_with_bounds(SHORTEST, LONGEST, DIGITS);
        Ok(Self {
            asked: 0,
            not_sent: 0,
            right: 0,
            unchecked: 0,
            wrong: 0,
            differs: 0,
            lost: 0,
            unfinished: 0,
            errors: BTreeMap::new(),
            examples: Vec::new(),
            latency: histogram()?,
            lateness: histogram()?,
        })
    }

    /// How much later than intended a request was sent: the generator's own share of its latency.
    pub fn sent(&mut self, late: Duration) {
        self.lateness.saturating_record(nanos(late));
    }

    /// An answer so long after the time at which its request was to be sent.
    pub fn ended(&mut self, latency: Duration, end: End) {
        let example = match end {
            End::Failed { code, text } => return self.failed(code, text, 1),
            End::Right => {
                self.right += 1;
                None
            }
            End::Unchecked => {
                self.unchecked += 1;
                None
            }
            End::Wrong(text) => {
                self.wrong += 1;
                Some(text)
            }
            End::Differs(text) => {
                self.differs += 1;
                Some(text)
            }
        };
        self.latency.saturating_record(nanos(latency));
        if let Some(text) = example {
            self.example(text);
        }
    }

    pub fn lost(&mut self, text: impl FnOnce() -> String) {
        self.lost += 1;
        if self.examples.len() < limits::BENCH_EXAMPLES {
            self.examples.push(text());
        }
    }

    fn failed(&mut self, code: String, first: String, count: u64) {
        let full = self.errors.len() >= limits::BENCH_CODES && !self.errors.contains_key(&code);
        let code = if full { OTHERS.to_owned() } else { code };
        self.errors.entry(code).or_insert(Errors { count: 0, first }).count += count;
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < limits::BENCH_EXAMPLES {
            self.examples.push(text);
        }
    }

    /// Adds what became of other requests.
    pub fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.not_sent += other.not_sent;
        self.right += other.right;
        self.unchecked += other.unchecked;
        self.wrong += other.wrong;
        self.differs += other.differs;
        self.lost += other.lost;
        self.unfinished += other.unfinished;
        for (code, Errors { count, first }) in &other.errors {
            self.failed(code.clone(), first.clone(), *count);
        }
        other.examples.iter().for_each(|text| self.example(text.clone()));
        // Both have the same bounds, so that there is no value which the sum could not hold.
        let _ = self.latency.add(&other.latency);
        let _ = self.lateness.add(&other.lateness);
    }

    /// Answers that were no errors.
    pub fn answered(&self) -> u64 {
        self.right + self.unchecked + self.wrong + self.differs
    }

    pub fn failed_count(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// All that did not become what it should.
    pub fn failures(&self) -> u64 {
        self.failed_count() + self.wrong + self.differs + self.lost
    }

    /// The latency that this share of the answers did not exceed; none without answers.
    pub fn latency(&self, share: f64) -> Option<Duration> {
        quantile(&self.latency, share)
    }

    pub fn lateness(&self, share: f64) -> Option<Duration> {
        quantile(&self.lateness, share)
    }

    pub fn mean(&self) -> Option<Duration> {
        (!self.latency.is_empty()).then(|| Duration::from_nanos(self.latency.mean() as u64))
    }

    pub fn least(&self) -> Option<Duration> {
        (!self.latency.is_empty()).then(|| Duration::from_nanos(self.latency.min()))
    }

    /// Shares of the answers and what they took, ever closer to all of them, as far as single answers tell.
    pub fn percentiles(&self) -> Vec<(f64, Duration)> {
        let count = self.latency.len() as f64;
        let shares = (0..).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / STEPS_PER_NINE));
        let told = shares.take_while(|share| (1.0 - share) * count >= 0.999_999);
        told.filter_map(|share| Some((share, self.latency(share)?))).collect()
    }
}

const STEPS_PER_NINE: f64 = 10.0;

fn quantile(histogram: &Histogram<u64>, share: f64) -> Option<Duration> {
    let value = (!histogram.is_empty()).then(|| histogram.value_at_quantile(share))?;
    Some(Duration::from_nanos(value))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn errors_are_kept_by_code_with_their_first_and_have_no_latency() {
        let mut tally = Tally::new().expect("a tally");
        for number in 0..1000 {
            let (code, text) = ((404 + number % 200).to_string(), format!("number {number}"));
            tally.ended(MILLI, End::Failed { code, text });
        }
        assert_eq!(tally.failures(), 1000);
        assert_eq!(tally.errors["404"], Errors { count: 5, first: "number 0".into() });
        assert_eq!(tally.errors.len(), limits::BENCH_CODES + 1);
        assert_eq!((tally.answered(), tally.latency(0.5)), (0, None));
    }

    #[test]
    fn sums_hold_what_their_parts_held() {
        let mut sum = Tally::new().expect("a tally");
        for millis in 1..=2 {
            let mut part = Tally::new().expect("a tally");
            part.asked = 101;
            (0..100).for_each(|_| part.ended(MILLI * millis, End::Right));
            part.ended(MILLI, End::Wrong("wrong".into()));
            sum.add(&part);
        }
        assert_eq!((sum.asked, sum.right, sum.wrong, sum.examples.len()), (202, 200, 2, 2));
        let near = |found: Option<Duration>, wanted: Duration| {
            let found = found.expect("answers");
            assert!(found.abs_diff(wanted) < wanted / 500, "{found:?}");
        };
        near(sum.latency(0.5), MILLI);
        near(sum.latency(0.99), MILLI * 2);
        near(sum.percentiles().last().map(|(_, time)| *time), MILLI * 2);
        let (deepest, _) = *sum.percentiles().last().expect("percentiles");
        assert!((0.99..=1.0 - 1.0 / 202.0).contains(&deepest), "{deepest}");
    }

    #[test]
    fn a_sum_has_every_count_of_its_parts_and_no_more_examples_than_are_kept() {
        let mut part = Tally::new().expect("a tally");
        (part.asked, part.not_sent, part.unfinished) = (30, 11, 7);
        (0..2).for_each(|_| part.ended(MILLI, End::Right));
        (0..3).for_each(|_| part.ended(MILLI, End::Unchecked));
        (0..4).for_each(|_| part.ended(MILLI, End::Differs("differs".into())));
        (0..5).for_each(|_| part.ended(MILLI, End::Wrong("wrong".into())));
        (0..6).for_each(|_| part.lost(|| "lost".into()));
        (0..8).for_each(|_| part.ended(MILLI, End::Failed { code: "404".into(), text: "nobody".into() }));
        part.sent(3 * MILLI);
        assert_eq!(part.examples, ["differs", "differs", "differs", "differs", "wrong"], "the first are kept");
        let mut sum = part.clone();
        sum.add(&part);
        assert_eq!((sum.asked, sum.not_sent, sum.unfinished), (60, 22, 14));
        assert_eq!((sum.right, sum.unchecked, sum.differs, sum.wrong, sum.lost), (4, 6, 8, 10, 12));
        assert_eq!(sum.errors["404"], Errors { count: 16, first: "nobody".into() });
        assert_eq!((sum.answered(), sum.failed_count(), sum.failures()), (28, 16, 46));
        assert_eq!(sum.examples.len(), limits::BENCH_EXAMPLES);
        let mut other = Tally::new().expect("a tally");
        other.sent(MILLI);
        other.add(&part);
        assert!(other.lateness(1.0).is_some_and(|late| late > 2 * MILLI), "{:?}", other.lateness(1.0));
    }

    #[test]
    fn what_took_too_long_counts_as_the_longest() {
        let mut tally = Tally::new().expect("a tally");
        tally.ended(MILLI, End::Right);
        tally.ended(Duration::MAX, End::Right);
        assert!(tally.latency(1.0).is_some_and(|most| most >= limits::BENCH_MOST_WAIT), "{:?}", tally.latency(1.0));
    }
}
