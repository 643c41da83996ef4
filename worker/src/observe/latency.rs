//! A latency histogram with doubling classes: one addition per message.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One class for each power of two of nanoseconds.
const CLASSES: usize = 64;

pub struct LatencyHistogram {
    classes: [AtomicU64; CLASSES],
}

impl Default for LatencyHistogram {
    fn default() -> Self {
        Self { classes: [const { AtomicU64::new(0) }; CLASSES] }
    }
}

impl LatencyHistogram {
    pub fn observe(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        self.classes[nanos.ilog2() as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// An upper bound of this quantile, less than twice too large. `None` before the first message.
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let counts = self.classes.each_ref().map(|class| class.load(Ordering::Relaxed));
        let all: u64 = counts.iter().sum();
        let enough = (all as f64 * share).ceil() as u64;
        let mut so_far = 0;
        let class = counts.iter().position(|count| {
            so_far += count;
            so_far > 0 && so_far >= enough
        })?;
        Some(Duration::from_nanos(2_u64.saturating_pow(class as u32 + 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_class() {
        let spread = LatencyHistogram::default();
        assert_eq!(spread.quantile(0.5), None);
        for _ in 0..99 {
            spread.observe(Duration::from_nanos(1000));
        }
        spread.observe(Duration::from_secs(1));
        assert_eq!(spread.quantile(0.5), Some(Duration::from_nanos(1024)));
        assert_eq!(spread.quantile(0.99), Some(Duration::from_nanos(1024)));
        assert_eq!(spread.quantile(1.0), Some(Duration::from_nanos(1 << 30)));
    }

    #[test]
    fn no_time_is_too_short_or_too_long() {
        let spread = LatencyHistogram::default();
        spread.observe(Duration::ZERO);
        assert_eq!(spread.quantile(1.0), Some(Duration::from_nanos(2)));
        spread.observe(Duration::MAX);
        assert_eq!(spread.quantile(1.0), Some(Duration::from_nanos(u64::MAX)));
    }
}
