//! What one run found, and whether it was good.

use std::time::Duration;

use serde_json::{Value, json};

use super::run::{Length, Load, Stint};
use super::sweep::Step;
use super::tally::{Errors, Tally};

#[derive(Clone, Debug)]
pub struct Outcome {
    pub stint: Stint,
    /// From the end of the time to warm up to the last answer, or to the end that was asked for if that is later.
    pub measured: Duration,
    pub targets: Vec<(String, Tally)>,
    pub late: u64,
    pub twice: u64,
    /// Results of messages that others have published.
    pub foreign: u64,
    /// The first of what came twice.
    pub remarks: Vec<String>,
    /// It was ended by hand.
    pub stopped: bool,
    /// How long the generator ran, and the processor time that it took.
    pub wall: Duration,
    pub cpu: Duration,
    pub disconnected: u64,
    pub dropped: u64,
    pub refused: u64,
}

/// The shares that every table shows.
pub const SHARES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Outcome {
    /// All targets together.
    pub fn total(&self) -> Option<Tally> {
        let mut tallies = self.targets.iter().map(|(_, tally)| tally);
        let mut total = tallies.next()?.clone();
        tallies.for_each(|tally| total.add(tally));
        Some(total)
    }

    /// Answers a second that were no errors.
    pub fn achieved(&self, tally: &Tally) -> f64 {
        if self.measured.is_zero() { 0.0 } else { tally.answered() as f64 / self.measured.as_secs_f64() }
    }

    /// What makes a run no measurement of what was asked for, in sentences; none for a good one.
    pub fn problems(&self, total: &Tally) -> Vec<String> {
        let wrong = [
            (total.failed_count(), "ended in an error"),
            (total.wrong, "had another answer than the expected one"),
            (total.differs, "had another answer than the same payload had first (--allow-different allows that)"),
            (total.lost, "had no end in time"),
            (self.twice, "more answers came than there should be"),
            (total.not_sent, "were not sent, because too many were outstanding: the deployment is overloaded"),
            (self.dropped, "times answers were thrown away, because this program could not keep up"),
            (self.refused, "times the server refused something, which may be a permission that this user lacks"),
        ];
        let mut problems: Vec<String> =
            wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if total.answered() == 0 && problems.is_empty() {
            problems.push("nothing was answered in the time that counts".into());
        }
        problems
    }

    /// What a sweep has to know; none if it cannot be judged by a rate.
    pub fn step(&self, total: &Tally) -> Option<Step> {
        Some(Step {
            asked: self.stint.rate()?,
            achieved: self.achieved(total),
            p99: total.latency(0.99),
            failures: total.failures() + self.twice + self.dropped,
            not_sent: total.not_sent,
        })
    }

    /// Processors that the generator kept busy, on average.
    pub fn generator_load(&self) -> f64 {
        if self.wall.is_zero() { 0.0 } else { self.cpu.as_secs_f64() / self.wall.as_secs_f64() }
    }

    pub fn json(&self, total: &Tally) -> Value {
        let (kind, asked) = match self.stint.load {
            Load::Open { rate, arrivals } => ("open", json!({ "rate": rate, "arrivals": arrivals.name() })),
            Load::Closed { in_flight } => ("closed", json!({ "in_flight": in_flight })),
        };
        let length = match self.stint.length {
            Length::For(length) => json!({ "seconds": length.as_secs_f64() }),
            Length::Requests(count) => json!({ "requests": count }),
        };
        let targets: Vec<Value> = self.targets.iter().map(|(name, tally)| self.target(name, tally)).collect();
        json!({
            "loop": kind, "asked": asked, "length": length, "warm_up_seconds": self.stint.warm_up.as_secs_f64(),
            "measured_seconds": self.measured.as_secs_f64(), "stopped": self.stopped,
            "total": self.target("total", total), "targets": targets,
            "late": self.late, "twice": self.twice, "twice_examples": self.remarks, "foreign": self.foreign,
            "disconnected": self.disconnected, "dropped": self.dropped, "refused": self.refused,
            "generator": { "cpu_seconds": self.cpu.as_secs_f64(), "processors": self.generator_load() },
            "problems": self.problems(total),
        })
    }

    fn target(&self, name: &str, tally: &Tally) -> Value {
        let errors: serde_json::Map<String, Value> = tally
            .errors
            .iter()
            .map(|(code, Errors { count, first })| (code.clone(), json!({ "count": count, "first": first })))
            .collect();
        let micros = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1e3);
        let latency: serde_json::Map<String, Value> = [("min", tally.least()), ("mean", tally.mean())]
            .into_iter()
            .chain(SHARES.map(|(name, share)| (name, tally.latency(share))))
            .map(|(name, time)| (name.to_owned(), json!(micros(time))))
            .collect();
        let late: serde_json::Map<String, Value> =
            SHARES.map(|(name, share)| (name.to_owned(), json!(micros(tally.lateness(share))))).into_iter().collect();
        let percentiles: Vec<Value> =
            tally.percentiles().into_iter().map(|(share, time)| json!([share, micros(Some(time))])).collect();
        json!({
            "name": name, "asked": tally.asked, "not_sent": tally.not_sent, "answered": tally.answered(),
            "right": tally.right, "unchecked": tally.unchecked, "wrong": tally.wrong, "differs": tally.differs,
            "lost": tally.lost, "unfinished": tally.unfinished, "failed": tally.failed_count(), "errors": errors,
            "examples": tally.examples, "achieved": self.achieved(tally), "latency_micros": latency,
            "sent_late_micros": late, "percentiles": percentiles,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::Arrivals;
    use super::super::tally::End;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ran(load: Load) -> Outcome {
        let mut tally = Tally::new().expect("a tally");
        (0..20).for_each(|_| tally.ended(SECOND / 10, End::Right));
        Outcome {
            stint: Stint { load, warm_up: SECOND, length: Length::For(2 * SECOND) },
            measured: 2 * SECOND,
            targets: vec![("one".into(), tally.clone()), ("two".into(), tally)],
            late: 0,
            twice: 0,
            foreign: 0,
            remarks: Vec::new(),
            stopped: false,
            wall: 3 * SECOND,
            cpu: SECOND,
            disconnected: 0,
            dropped: 0,
            refused: 0,
        }
    }

    fn open() -> Outcome {
        ran(Load::Open { rate: 20.0, arrivals: Arrivals::Even })
    }

    #[test]
    fn a_run_in_which_all_went_well_has_no_problems_and_each_that_did_not_is_one() {
        let good = open();
        let total = good.total().expect("targets");
        assert_eq!((total.right, good.problems(&total)), (40, Vec::new()));
        let spoil: [fn(&mut Outcome, &mut Tally); 8] = [
            |_, total| total.ended(SECOND, End::Failed { code: "404".into(), text: String::new() }),
            |_, total| total.ended(SECOND, End::Wrong(String::new())),
            |_, total| total.ended(SECOND, End::Differs(String::new())),
            |_, total| total.lost(String::new),
            |outcome, _| outcome.twice = 1,
            |_, total| total.not_sent = 1,
            |outcome, _| outcome.dropped = 1,
            |outcome, _| outcome.refused = 1,
        ];
        let mut told = std::collections::BTreeSet::new();
        for spoil in spoil {
            let (mut outcome, mut total) = (good.clone(), total.clone());
            spoil(&mut outcome, &mut total);
            let problems = outcome.problems(&total);
            assert_eq!(problems.len(), 1, "{problems:?}");
            told.extend(problems);
        }
        assert_eq!(told.len(), spoil.len(), "{told:?}");
        assert_eq!(good.problems(&Tally::new().expect("a tally")).len(), 1, "nothing answered is no measurement");
    }

    #[test]
    fn a_sweep_is_told_of_the_rate_and_of_all_that_went_wrong() {
        let mut outcome = open();
        (outcome.twice, outcome.dropped) = (3, 4);
        let mut total = outcome.total().expect("targets");
        total.lost(String::new);
        total.not_sent = 5;
        let step = outcome.step(&total).expect("a rate");
        assert_eq!((step.asked, step.achieved, step.failures, step.not_sent), (20.0, 20.0, 8, 5));
        assert!(step.p99.is_some_and(|p99| p99 >= SECOND / 10), "{:?}", step.p99);
        assert!(ran(Load::Closed { in_flight: 1 }).step(&total).is_none());
    }
}
