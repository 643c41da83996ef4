//! When each request of an open loop is due, whatever becomes of those before it.

use std::time::Duration;

use super::dice::Dice;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// Always the same time between two requests
    #[default]
    Even,
    /// As from many devices that know nothing of each other
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

/// The times after the start at which requests are due, without end.
pub struct Schedule {
    arrivals: Arrivals,
    rate: f64,
    count: u64,
    at: f64,
    dice: Dice,
}

impl Schedule {
    /// `rate` is in requests per second.
    pub fn new(arrivals: Arrivals, rate: f64, seed: u64) -> Self {
        Self { arrivals, rate, count: 0, at: 0.0, dice: Dice::new(seed) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let due = match self.arrivals {
            // From the count, so that no error adds up.
            Arrivals::Even => self.count as f64 / self.rate,
            Arrivals::Poisson => {
                self.at += -(1.0 - self.dice.share()).ln() / self.rate;
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
        let last = Schedule::new(Arrivals::Even, 3000.0, 0).nth(3_000_000).expect("without end");
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
        assert!(again(7).eq(times.iter().copied().take(1000)), "the same for the same seed");
        assert!(again(8).ne(times.iter().copied().take(1000)), "other for another one");
    }
}
