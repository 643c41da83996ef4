//! Outstanding requests, from their due time to their end.
//!
//! Guarantees: a latency starts at the *intended* send time. A stall counts for all requests due meanwhile, and not
//! only for the request in flight. Times are arguments, counted from the start of the run.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::stats::{TargetStats, Verdict};
use crate::generate::picker::Choice;
use crate::limits;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub intended: Duration,
    pub choice: Choice,
    /// False during the warm-up.
    pub counted: bool,
}

pub struct Outstanding {
    max: usize,
    wait: Duration,
    next: u64,
    open: HashMap<u64, Due>,
    given_up: HashSet<u64>,
    /// One per target.
    stats: Vec<TargetStats>,
    /// Answers to expired requests.
    pub late: u64,
    /// Second answers, and results beside dead letters.
    pub twice: u64,
    /// The time of the last counted answer.
    pub last_end: Duration,
}

/// An expired request.
pub struct Lost {
    pub number: u64,
    pub due: Due,
}

impl Outstanding {
    /// Bounds the number of requests by `max`, and their age after the due time by `wait`.
    pub fn new(max: usize, wait: Duration, stats: Vec<TargetStats>) -> Self {
        Self {
            max,
            wait,
            next: 0,
            open: HashMap::new(),
            given_up: HashSet::new(),
            stats,
            late: 0,
            twice: 0,
            last_end: Duration::ZERO,
        }
    }

    /// Registers a request about to be sent and returns its number; none at the bound.
    pub fn register(&mut self, due: Due, now: Duration) -> Option<u64> {
        let full = self.open.len() >= self.max;
        if let Some(stats) = self.stats.get_mut(due.choice.target).filter(|_| due.counted) {
            stats.asked += 1;
            if full {
                stats.not_sent += 1;
            } else {
                stats.sent(now.saturating_sub(due.intended));
            }
        }
        if full {
            return None;
        }
        let number = self.next;
        self.next += 1;
        self.open.insert(number, due);
        Some(number)
    }

    /// The outstanding request with this number.
    pub fn due(&self, number: u64) -> Option<Due> {
        self.open.get(&number).copied()
    }

    /// Ends a request. False if it was not outstanding.
    pub fn end(&mut self, number: u64, now: Duration, verdict: Verdict) -> bool {
        let Some(due) = self.open.remove(&number) else {
            if self.given_up.remove(&number) {
                self.late += 1;
            } else {
                self.twice += 1;
            }
            return false;
        };
        if let Some(stats) = self.stats.get_mut(due.choice.target).filter(|_| due.counted) {
            self.last_end = self.last_end.max(now);
            stats.ended(now.saturating_sub(due.intended), verdict);
        }
        true
    }

    /// Removes and returns expired requests.
    pub fn give_up(&mut self, now: Duration) -> Vec<Lost> {
        let wait = self.wait;
        let old = |due: &Due| now.saturating_sub(due.intended) >= wait;
        let numbers: Vec<u64> = self.open.iter().filter(|(_, due)| old(due)).map(|(number, _)| *number).collect();
        let mut lost = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(due) = self.open.remove(&number) else { continue };
            // Above this bound, late answers count as second ones. The run has failed anyway.
            if self.given_up.len() < limits::MAX_OUTSTANDING {
                self.given_up.insert(number);
            }
            lost.push(Lost { number, due });
        }
        lost
    }

    pub fn stats(&mut self, target: usize) -> Option<&mut TargetStats> {
        self.stats.get_mut(target)
    }

    pub fn count(&self) -> usize {
        self.open.len()
    }

    /// Counts the remaining requests as unfinished and returns the statistics.
    pub fn close(mut self) -> Vec<TargetStats> {
        for due in self.open.into_values().filter(|due| due.counted) {
            if let Some(stats) = self.stats.get_mut(due.choice.target) {
                stats.unfinished += 1;
            }
        }
        self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::arrivals::{Arrivals, Schedule};

    const MILLI: Duration = Duration::from_millis(1);
    const ONE: Choice = Choice { target: 0, payload: 0 };

    fn outstanding(max: usize) -> Outstanding {
        Outstanding::new(max, Duration::from_secs(10), vec![TargetStats::new().expect("statistics")])
    }

    fn due(intended: Duration) -> Due {
        Due { intended, choice: ONE, counted: true }
    }

    /// A server that answers in a millisecond, but stalls from second 1 to second 2. With `blocks`, the sender stalls,
    /// too.
    fn stalled(blocks: bool) -> TargetStats {
        let mut outstanding = outstanding(100_000);
        let stall = Duration::from_secs(1)..Duration::from_secs(2);
        for intended in Schedule::new(Arrivals::Even, 1000.0, 0).take(3000) {
            let sent = if blocks && stall.contains(&intended) { stall.end } else { intended };
            let number = outstanding.register(due(intended), sent).expect("below the bound");
            let answered = if stall.contains(&sent) { stall.end } else { sent } + MILLI;
            assert!(outstanding.end(number, answered, Verdict::Right));
        }
        outstanding.close().remove(0)
    }

    #[test]
    fn a_stall_delays_all_requests_due_meanwhile() {
        for blocks in [false, true] {
            let stats = stalled(blocks);
            assert_eq!(stats.right, 3000);
            // A third of the requests were due during the stall, with a median wait of half of it.
            let quantile = |share| stats.latency(share).expect("answers").as_secs_f64();
            assert!((0.0009..0.0011).contains(&quantile(0.5)), "{}", quantile(0.5));
            assert!((0.49..0.51).contains(&quantile(5.0 / 6.0)), "{}", quantile(5.0 / 6.0));
            assert!((0.96..1.01).contains(&quantile(0.99)), "{}", quantile(0.99));
            let late = stats.lateness(0.99).expect("sent").as_secs_f64();
            assert_eq!(late > 0.9, blocks, "the sender's lateness is separate: {late}");
        }
    }

    #[test]
    fn requests_above_the_bound_are_counted_and_not_sent() {
        let mut outstanding = outstanding(2);
        assert_eq!(outstanding.register(due(MILLI), MILLI), Some(0));
        assert_eq!(outstanding.register(due(MILLI), MILLI), Some(1));
        assert_eq!(outstanding.register(due(MILLI), MILLI), None);
        assert!(outstanding.end(0, 2 * MILLI, Verdict::Right));
        assert_eq!(outstanding.register(due(MILLI), MILLI), Some(2));
        let stats = outstanding.close().remove(0);
        assert_eq!((stats.asked, stats.not_sent, stats.right, stats.unfinished), (4, 1, 1, 2));
    }

    #[test]
    fn second_and_late_answers_are_counted_separately() {
        let mut outstanding = outstanding(10);
        let (first, second) = (outstanding.register(due(MILLI), MILLI), outstanding.register(due(MILLI), MILLI));
        let (first, second) = (first.expect("below the bound"), second.expect("below the bound"));
        assert!(outstanding.end(first, 2 * MILLI, Verdict::Right));
        assert!(!outstanding.end(first, 3 * MILLI, Verdict::Right));
        assert_eq!((outstanding.twice, outstanding.late), (1, 0));
        assert!(outstanding.give_up(10 * Duration::from_secs(1)).is_empty(), "not yet");
        let lost = outstanding.give_up(11 * Duration::from_secs(1));
        assert_eq!(lost.iter().map(|lost| lost.number).collect::<Vec<_>>(), [second]);
        assert!(!outstanding.end(second, 12 * Duration::from_secs(1), Verdict::Right));
        assert_eq!((outstanding.twice, outstanding.late), (1, 1));
        assert_eq!(outstanding.close().remove(0).right, 1);
    }

    #[test]
    fn the_warm_up_is_not_counted() {
        let mut outstanding = outstanding(10);
        let number = outstanding.register(Due { counted: false, ..due(MILLI) }, MILLI).expect("below the bound");
        assert!(outstanding.end(number, 2 * MILLI, Verdict::Failed { code: "404".into(), text: String::new() }));
        assert_eq!(outstanding.last_end, Duration::ZERO);
        outstanding.register(Due { counted: false, ..due(MILLI) }, MILLI).expect("below the bound");
        let stats = outstanding.close().remove(0);
        assert_eq!((stats.asked, stats.failures(), stats.answered(), stats.unfinished), (0, 0, 0, 0));
    }

    #[test]
    fn each_target_has_separate_statistics() {
        let stats = || TargetStats::new().expect("statistics");
        let mut outstanding = Outstanding::new(2, Duration::from_secs(10), vec![stats(), stats()]);
        let other = Due { choice: Choice { target: 1, payload: 0 }, ..due(MILLI) };
        let number = outstanding.register(other, MILLI).expect("below the bound");
        outstanding.register(other, MILLI).expect("below the bound");
        assert_eq!(outstanding.register(other, MILLI), None);
        assert!(outstanding.end(number, 3 * MILLI, Verdict::Right));
        assert_eq!((outstanding.count(), outstanding.last_end), (1, 3 * MILLI));
        let stats = outstanding.close();
        let counts = |stats: &TargetStats| (stats.asked, stats.not_sent, stats.right, stats.unfinished);
        assert_eq!(stats.iter().map(counts).collect::<Vec<_>>(), [(0, 0, 0, 0), (3, 1, 1, 1)]);
    }
}
