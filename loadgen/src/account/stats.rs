//! Statistics of one target: counts, latencies, and examples of failures.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::{CreationError, Histogram};

use crate::limits;

/// In nanoseconds, with three significant digits. Longer times count as the longest.
const SHORTEST: u64 = 100;
const LONGEST: u64 = limits::MAX_WAIT.as_nanos() as u64 * 4;
const DIGITS: u8 = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Right,
    /// Without a reference for comparison.
    Unchecked,
    /// Unlike the expected answer.
    Wrong(String),
    /// Unlike the first answer to the same payload.
    Differs(String),
    /// An error reply.
    Failed {
        code: String,
        text: String,
    },
}

#[derive(Clone, Debug)]
pub struct TargetStats {
    pub asked: u64,
    pub not_sent: u64,
    pub right: u64,
    pub unchecked: u64,
    pub wrong: u64,
    pub differs: u64,
    pub lost: u64,
    /// Outstanding at an early stop.
    pub unfinished: u64,
    pub errors: BTreeMap<String, Errors>,
    /// The first wrong, different or lost answers.
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

/// The code of errors above the bound.
const OTHERS: &str = "other";

impl TargetStats {
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

    /// Records the delay of a sent request: the generator's share of its latency.
    pub fn sent(&mut self, late: Duration) {
        self.lateness.saturating_record(nanos(late));
    }

    /// Records an answer. The latency starts at the intended send time.
    pub fn ended(&mut self, latency: Duration, verdict: Verdict) {
        let example = match verdict {
            Verdict::Failed { code, text } => return self.failed(code, text, 1),
            Verdict::Right => {
                self.right += 1;
                None
            }
            Verdict::Unchecked => {
                self.unchecked += 1;
                None
            }
            Verdict::Wrong(text) => {
                self.wrong += 1;
                Some(text)
            }
            Verdict::Differs(text) => {
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
        if self.examples.len() < limits::EXAMPLES {
            self.examples.push(text());
        }
    }

    fn failed(&mut self, code: String, first: String, count: u64) {
        let full = self.errors.len() >= limits::CODES && !self.errors.contains_key(&code);
        let code = if full { OTHERS.to_owned() } else { code };
        self.errors.entry(code).or_insert(Errors { count: 0, first }).count += count;
    }

    fn example(&mut self, text: String) {
        if self.examples.len() < limits::EXAMPLES {
            self.examples.push(text);
        }
    }

    /// Adds the statistics of another target.
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
        // Histograms of equal bounds can always be added.
        let _ = self.latency.add(&other.latency);
        let _ = self.lateness.add(&other.lateness);
    }

    /// Answers without errors.
    pub fn answered(&self) -> u64 {
        self.right + self.unchecked + self.wrong + self.differs
    }

    pub fn failed_count(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }

    /// Errors, wrong answers and lost requests.
    pub fn failures(&self) -> u64 {
        self.failed_count() + self.wrong + self.differs + self.lost
    }

    /// The latency quantile; none without answers.
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

    /// Shares and latencies, ever closer to 1, down to single answers.
    pub fn percentiles(&self) -> Vec<(f64, Duration)> {
        let count = self.latency.len() as f64;
        let shares = (0..).map(|step| 1.0 - 10_f64.powf(-f64::from(step) / STEPS_PER_NINE));
        let resolved = shares.take_while(|share| (1.0 - share) * count >= 0.999_999);
        resolved.filter_map(|share| Some((share, self.latency(share)?))).collect()
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
    fn errors_are_counted_by_code_and_without_latency() {
        let mut stats = TargetStats::new().expect("statistics");
        for number in 0..1000 {
            let (code, text) = ((404 + number % 200).to_string(), format!("number {number}"));
            stats.ended(MILLI, Verdict::Failed { code, text });
        }
        assert_eq!(stats.failures(), 1000);
        assert_eq!(stats.errors["404"], Errors { count: 5, first: "number 0".into() });
        assert_eq!(stats.errors.len(), limits::CODES + 1);
        assert_eq!((stats.answered(), stats.latency(0.5)), (0, None));
    }

    #[test]
    fn a_sum_adds_counts_and_latencies() {
        let mut sum = TargetStats::new().expect("statistics");
        for millis in 1..=2 {
            let mut part = TargetStats::new().expect("statistics");
            part.asked = 101;
            (0..100).for_each(|_| part.ended(MILLI * millis, Verdict::Right));
            part.ended(MILLI, Verdict::Wrong("wrong".into()));
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
    fn a_sum_adds_every_count_and_bounds_the_examples() {
        let mut part = TargetStats::new().expect("statistics");
        (part.asked, part.not_sent, part.unfinished) = (30, 11, 7);
        (0..2).for_each(|_| part.ended(MILLI, Verdict::Right));
        (0..3).for_each(|_| part.ended(MILLI, Verdict::Unchecked));
        (0..4).for_each(|_| part.ended(MILLI, Verdict::Differs("differs".into())));
        (0..5).for_each(|_| part.ended(MILLI, Verdict::Wrong("wrong".into())));
        (0..6).for_each(|_| part.lost(|| "lost".into()));
        (0..8).for_each(|_| part.ended(MILLI, Verdict::Failed { code: "404".into(), text: "nobody".into() }));
        part.sent(3 * MILLI);
        assert_eq!(part.examples, ["differs", "differs", "differs", "differs", "wrong"], "the first examples are kept");
        let mut sum = part.clone();
        sum.add(&part);
        assert_eq!((sum.asked, sum.not_sent, sum.unfinished), (60, 22, 14));
        assert_eq!((sum.right, sum.unchecked, sum.differs, sum.wrong, sum.lost), (4, 6, 8, 10, 12));
        assert_eq!(sum.errors["404"], Errors { count: 16, first: "nobody".into() });
        assert_eq!((sum.answered(), sum.failed_count(), sum.failures()), (28, 16, 46));
        assert_eq!(sum.examples.len(), limits::EXAMPLES);
        let mut other = TargetStats::new().expect("statistics");
        other.sent(MILLI);
        other.add(&part);
        assert!(other.lateness(1.0).is_some_and(|late| late > 2 * MILLI), "{:?}", other.lateness(1.0));
    }

    #[test]
    fn longer_times_count_as_the_longest() {
        let mut stats = TargetStats::new().expect("statistics");
        stats.ended(MILLI, Verdict::Right);
        stats.ended(Duration::MAX, Verdict::Right);
        assert!(stats.latency(1.0).is_some_and(|most| most >= limits::MAX_WAIT), "{:?}", stats.latency(1.0));
    }
}
