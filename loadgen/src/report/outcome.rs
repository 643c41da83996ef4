//! The outcome of one run, and its problems.

use std::time::Duration;

use serde_json::{Value, json};

use crate::account::stats::{Errors, TargetStats};
use crate::settings::{Length, Load, RunSettings};
use crate::sweep::Step;

#[derive(Clone, Debug)]
pub struct Outcome {
    pub settings: RunSettings,
    /// From the end of the warm-up to the last answer, or to the planned end if later.
    pub measured: Duration,
    pub targets: Vec<(String, TargetStats)>,
    pub late: u64,
    pub twice: u64,
    /// Results of other publishers' messages.
    pub foreign: u64,
    /// The first duplicates.
    pub remarks: Vec<String>,
    /// The run was stopped early.
    pub stopped: bool,
    /// The generator's elapsed time and processor time.
    pub wall: Duration,
    pub cpu: Duration,
    pub disconnected: u64,
    pub dropped: u64,
    pub refused: u64,
}

/// The quantiles of every table.
pub const SHARES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

impl Outcome {
    /// The sum of all targets.
    pub fn total(&self) -> Option<TargetStats> {
        let mut stats = self.targets.iter().map(|(_, stats)| stats);
        let mut total = stats.next()?.clone();
        stats.for_each(|stats| total.add(stats));
        Some(total)
    }

    /// Answers per second without errors.
    pub fn achieved(&self, stats: &TargetStats) -> f64 {
        if self.measured.is_zero() { 0.0 } else { stats.answered() as f64 / self.measured.as_secs_f64() }
    }

    /// Sentences about failures; empty for a good run.
    pub fn problems(&self, total: &TargetStats) -> Vec<String> {
        let wrong = [
            (total.failed_count(), "ended in an error"),
            (total.wrong, "had another answer than expected"),
            (total.differs, "had another answer than the first one to the same payload (--allow-different allows this)"),
            (total.lost, "did not end in time"),
            (self.twice, "surplus answers arrived"),
            (total.not_sent, "were not sent because too many were outstanding: the deployment is overloaded"),
            (self.dropped, "times the load generator was too slow and dropped answers"),
            (self.refused, "times the server reported an error: check the permissions of this user"),
        ];
        let mut problems: Vec<String> =
            wrong.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        if total.answered() == 0 && problems.is_empty() {
            problems.push("no answers arrived in the measured time".into());
        }
        problems
    }

    /// The input of a sweep; none for a closed loop.
    pub fn step(&self, total: &TargetStats) -> Option<Step> {
        Some(Step {
            asked: self.settings.rate()?,
            achieved: self.achieved(total),
            p99: total.latency(0.99),
            failures: total.failures() + self.twice + self.dropped,
            not_sent: total.not_sent,
        })
    }

    /// Processors used by the generator, on average.
    pub fn generator_load(&self) -> f64 {
        if self.wall.is_zero() { 0.0 } else { self.cpu.as_secs_f64() / self.wall.as_secs_f64() }
    }

    pub fn json(&self, total: &TargetStats) -> Value {
        let (kind, asked) = match self.settings.load {
            Load::Open { rate, arrivals } => ("open", json!({ "rate": rate, "arrivals": arrivals.name() })),
            Load::Closed { in_flight } => ("closed", json!({ "in_flight": in_flight })),
        };
        let length = match self.settings.length {
            Length::For(length) => json!({ "seconds": length.as_secs_f64() }),
            Length::Requests(count) => json!({ "requests": count }),
        };
        let targets: Vec<Value> = self.targets.iter().map(|(name, stats)| self.target(name, stats)).collect();
        json!({
            "loop": kind, "asked": asked, "length": length, "warm_up_seconds": self.settings.warm_up.as_secs_f64(),
            "measured_seconds": self.measured.as_secs_f64(), "stopped": self.stopped,
            "total": self.target("total", total), "targets": targets,
            "late": self.late, "twice": self.twice, "twice_examples": self.remarks, "foreign": self.foreign,
            "disconnected": self.disconnected, "dropped": self.dropped, "refused": self.refused,
            "generator": { "cpu_seconds": self.cpu.as_secs_f64(), "processors": self.generator_load() },
            "problems": self.problems(total),
        })
    }

    fn target(&self, name: &str, stats: &TargetStats) -> Value {
        let errors: serde_json::Map<String, Value> = stats
            .errors
            .iter()
            .map(|(code, Errors { count, first })| (code.clone(), json!({ "count": count, "first": first })))
            .collect();
        let micros = |time: Option<Duration>| time.map(|time| time.as_nanos() as f64 / 1e3);
        let latency: serde_json::Map<String, Value> = [("min", stats.least()), ("mean", stats.mean())]
            .into_iter()
            .chain(SHARES.map(|(name, share)| (name, stats.latency(share))))
            .map(|(name, time)| (name.to_owned(), json!(micros(time))))
            .collect();
        let late: serde_json::Map<String, Value> =
            SHARES.map(|(name, share)| (name.to_owned(), json!(micros(stats.lateness(share))))).into_iter().collect();
        let percentiles: Vec<Value> =
            stats.percentiles().into_iter().map(|(share, time)| json!([share, micros(Some(time))])).collect();
        json!({
            "name": name, "asked": stats.asked, "not_sent": stats.not_sent, "answered": stats.answered(),
            "right": stats.right, "unchecked": stats.unchecked, "wrong": stats.wrong, "differs": stats.differs,
            "lost": stats.lost, "unfinished": stats.unfinished, "failed": stats.failed_count(), "errors": errors,
            "examples": stats.examples, "achieved": self.achieved(stats), "latency_micros": latency,
            "sent_late_micros": late, "percentiles": percentiles,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::stats::Verdict;
    use crate::generate::arrivals::Arrivals;

    const SECOND: Duration = Duration::from_secs(1);

    fn ran(load: Load) -> Outcome {
        let mut stats = TargetStats::new().expect("statistics");
        (0..20).for_each(|_| stats.ended(SECOND / 10, Verdict::Right));
        Outcome {
            settings: RunSettings { load, warm_up: SECOND, length: Length::For(2 * SECOND) },
            measured: 2 * SECOND,
            targets: vec![("one".into(), stats.clone()), ("two".into(), stats)],
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
    fn each_kind_of_failure_is_one_problem() {
        let good = open();
        let total = good.total().expect("targets");
        assert_eq!((total.right, good.problems(&total)), (40, Vec::new()));
        let spoil: [fn(&mut Outcome, &mut TargetStats); 8] = [
            |_, total| total.ended(SECOND, Verdict::Failed { code: "404".into(), text: String::new() }),
            |_, total| total.ended(SECOND, Verdict::Wrong(String::new())),
            |_, total| total.ended(SECOND, Verdict::Differs(String::new())),
            |_, total| total.lost(String::new),
            |outcome, _| outcome.twice = 1,
            |_, total| total.not_sent = 1,
            |outcome, _| outcome.dropped = 1,
            |outcome, _| outcome.refused = 1,
        ];
        let mut texts = std::collections::BTreeSet::new();
        for spoil in spoil {
            let (mut outcome, mut total) = (good.clone(), total.clone());
            spoil(&mut outcome, &mut total);
            let problems = outcome.problems(&total);
            assert_eq!(problems.len(), 1, "{problems:?}");
            texts.extend(problems);
        }
        assert_eq!(texts.len(), spoil.len(), "{texts:?}");
        assert_eq!(
            good.problems(&TargetStats::new().expect("statistics")).len(),
            1,
            "a run without answers is a problem"
        );
    }

    #[test]
    fn a_step_holds_the_rate_and_all_failures() {
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
