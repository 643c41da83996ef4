//! The search for the knee: the highest sustained rate of a deployment.

use std::time::Duration;

use crate::limits;

/// Rates grow by this factor up to the first failure. Bisection then continues to the ratio `CLOSE`.
const GROWTH: f64 = 1.5;
const CLOSE: f64 = 1.05;
/// A failed rate is retried once: a hiccup of the machine is not the knee.
const TRIES: u32 = 2;
/// The required share of the requested rate.
pub const SHARE: f64 = 0.98;
/// The default bound of p99, in multiples of p99 at the lowest rate.
pub const P99_FACTOR: f64 = 10.0;

/// Chooses the next rate.
#[derive(Debug)]
pub struct Search {
    next: Option<f64>,
    tries: u32,
    steps: usize,
    max: f64,
    good: Option<f64>,
    bad: Option<f64>,
}

impl Search {
    pub fn new(lowest: f64) -> Self {
        Self { next: Some(lowest), tries: 0, steps: 0, max: limits::RATE, good: None, bad: None }
    }

    /// The rate to try; none at the end of the search.
    pub fn next(&self) -> Option<f64> {
        self.next.filter(|_| self.steps < limits::STEPS)
    }

    /// Records the result of the tried rate.
    pub fn record(&mut self, holds: bool) {
        let Some(rate) = self.next else { return };
        self.steps += 1;
        self.tries += 1;
        if !holds && self.tries < TRIES {
            return;
        }
        self.tries = 0;
        *(if holds { &mut self.good } else { &mut self.bad }) = Some(rate);
        self.next = match (self.good, self.bad) {
            (Some(good), None) => Some((good * GROWTH).min(self.max)).filter(|next| *next > good),
            (Some(good), Some(bad)) => Some((good * bad).sqrt()).filter(|_| bad / good > CLOSE),
            (None, _) => None,
        };
    }

    /// The highest sustained rate.
    pub fn knee(&self) -> Option<f64> {
        self.good
    }
}

/// The measured values of a tried rate.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    pub asked: f64,
    pub achieved: f64,
    pub p99: Option<Duration>,
    pub failures: u64,
    pub not_sent: u64,
}

/// The reason of a failed rate.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Breach {
    #[error("{0} failed")]
    Failed(u64),
    #[error("{0} were not sent: too many outstanding")]
    NotSent(u64),
    #[error("{:.1} % of the rate", .0 * 100.0)]
    Slow(f64),
    #[error("p99 over {:.1} ms", .0.as_secs_f64() * 1e3)]
    P99(Duration),
}

/// Judges steps, starting with the lowest rate.
#[derive(Debug)]
pub struct Judge {
    p99: Option<Duration>,
}

impl Judge {
    /// Without a bound on p99, the first step sets it.
    pub fn new(p99: Option<Duration>) -> Self {
        Self { p99 }
    }

    pub fn holds(&mut self, step: Step) -> Result<(), Breach> {
        if step.failures > 0 {
            return Err(Breach::Failed(step.failures));
        }
        if step.not_sent > 0 {
            return Err(Breach::NotSent(step.not_sent));
        }
        let share = step.achieved / step.asked;
        if share < SHARE {
            return Err(Breach::Slow(share));
        }
        let measured = step.p99.unwrap_or_default();
        let bound = *self.p99.get_or_insert_with(|| measured.mul_f64(P99_FACTOR));
        if measured > bound { Err(Breach::P99(bound)) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A simulated deployment of this capacity per second, with growing queues.
    fn simulated(asked: f64, capacity: f64) -> Step {
        let load = asked / capacity;
        let wait = if load < 1.0 { 0.001 / (1.0 - load) } else { 10.0 };
        let p99 = Some(Duration::from_secs_f64(wait));
        Step { asked, achieved: asked.min(capacity), p99, failures: 0, not_sent: 0 }
    }

    fn search(lowest: f64, mut step: impl FnMut(f64) -> Step, p99: Option<Duration>) -> (Search, usize) {
        let (mut search, mut judge, mut steps) = (Search::new(lowest), Judge::new(p99), 0);
        while let Some(rate) = search.next() {
            search.record(judge.holds(step(rate)).is_ok());
            steps += 1;
            assert!(steps <= limits::STEPS, "the search ends");
        }
        (search, steps)
    }

    #[test]
    fn the_knee_is_the_rate_with_bad_p99_or_bad_throughput() {
        // At 100 of 10,000 the p99 is 1.01 ms. Tenfold is reached at 90 %.
        let (found, _) = search(100.0, |rate| simulated(rate, 10_000.0), None);
        let knee = found.knee().expect("a knee");
        assert!((9000.0 / CLOSE..=9000.0 * 1.01).contains(&knee), "{knee}");
        // Without a tight p99, the rate itself fails at 1/0.98 of the capacity.
        let (found, _) = search(100.0, |rate| simulated(rate, 10_000.0), Some(Duration::from_secs(60)));
        let knee = found.knee().expect("a knee");
        assert!((10_000.0 / CLOSE..=10_000.0 / SHARE).contains(&knee), "{knee}");
    }

    #[test]
    fn failures_end_a_rate_and_one_hiccup_does_not() {
        let failing = |rate| Step { failures: u64::from(rate > 500.0), ..simulated(rate, 1e6) };
        let knee = search(100.0, failing, None).0.knee().expect("a knee");
        assert!((500.0 / CLOSE..=500.0).contains(&knee), "{knee}");
        let overloaded = |rate| Step { not_sent: u64::from(rate > 500.0), ..simulated(rate, 1e6) };
        let knee = search(100.0, overloaded, None).0.knee().expect("a knee");
        assert!((500.0 / CLOSE..=500.0).contains(&knee), "{knee}");
        let mut calls = 0;
        let hiccup = |rate| {
            calls += 1;
            Step { not_sent: u64::from(calls == 2), ..simulated(rate, 10_000.0) }
        };
        let knee = search(100.0, hiccup, None).0.knee().expect("a knee");
        assert!(knee > 8000.0, "{knee}");
    }

    #[test]
    fn a_failed_lowest_rate_is_not_a_knee_and_an_endless_search_ends() {
        let (found, steps) = search(20_000.0, |rate| simulated(rate, 10_000.0), None);
        assert_eq!((found.knee(), steps), (None, TRIES as usize));
        let (found, _) = search(1.0, |rate| simulated(rate, 1e18), None);
        assert_eq!(found.knee(), Some(limits::RATE));
        let (_, steps) = search(1e-9, |rate| simulated(rate, 1e18), None);
        assert_eq!(steps, limits::STEPS, "a search from a tiny rate is bounded");
    }
}
