//! The due times of an open loop, independent of answers.

use std::time::Duration;

use crate::random::Random;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// Constant intervals.
    #[default]
    Even,
    /// Exponential intervals, as from many independent devices.
    Poisson,
}

impl Arrivals {
    pub fn name(self) -> &'static str {
        match self {
            Self::Even => "even",
            Self::Poisson => "poisson",
        }
    }
}

/// An endless iterator of due times, counted from the start.
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    count: u64,
    at: f64,
    random: Random,
}

impl Schedule {
    /// `rate` is in requests per second.
    pub fn new(arrivals: Arrivals, rate: f64, seed: u64) -> Self {
        Self { arrivals, rate, count: 0, at: 0.0, random: Random::new(seed) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = match self.arrivals {
            // Multiples of the count do not accumulate rounding errors.
            Arrivals::Even => self.count as f64 / self.rate,
            Arrivals::Poisson => {
                self.at += -(1.0 - self.random.unit()).ln() / self.rate;
                self.at
            }
        };
        self.count += 1;
        Duration::try_from_secs_f64(due).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_arrivals_do_not_drift() {
        let last = Schedule::new(Arrivals::Even, 3000.0, 0).nth(3_000_000).expect("an endless schedule");
        assert_eq!(last, Duration::from_secs(1000));
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_vary_and_repeat() {
        let times: Vec<_> = Schedule::new(Arrivals::Poisson, 1000.0, 7).take(100_000).collect();
        let seconds = times.last().expect("times").as_secs_f64();
        assert!((98.0..102.0).contains(&seconds), "{seconds}");
        let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        let short = gaps.iter().filter(|gap| **gap < 0.001).count() as f64 / gaps.len() as f64;
        // 1 - 1/e of exponential gaps are shorter than their mean.
        assert!((0.62..0.645).contains(&short), "{short}");
        let again = |seed| Schedule::new(Arrivals::Poisson, 1000.0, seed).take(1000);
        assert!(again(7).eq(times.iter().copied().take(1000)), "equal for equal seeds");
        assert!(again(8).ne(times.iter().copied().take(1000)), "different for another seed");
    }
}
