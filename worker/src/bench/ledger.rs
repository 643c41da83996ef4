//! What is outstanding: every request from the time at which it is due to its end.
//!
//! Promises: a latency begins when its request was *intended* to be sent, so a deployment that stalls is charged with all that
//! was due meanwhile, and not with the one request that it kept. Times are given in, as what has passed since the run began.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::mix::Choice;
use super::tally::{End, Tally};
use crate::limits;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub intended: Duration,
    pub choice: Choice,
    /// Not in the time to warm up.
    pub counted: bool,
}

pub struct Ledger {
    most: usize,
    wait: Duration,
    next: u64,
    open: HashMap<u64, Due>,
    given_up: HashSet<u64>,
    /// One for each target.
    tallies: Vec<Tally>,
    /// Answers to requests that had been given up.
    pub late: u64,
    /// Answers to requests that had one already, and requests that had both a result and a dead letter.
    pub twice: u64,
    /// When the last answer that counts came.
    pub last_end: Duration,
}

/// A request that was given up.
pub struct Lost {
    pub number: u64,
    pub due: Due,
}

impl Ledger {
    /// At most `most` are outstanding, none for longer than `wait` after it was due.
    pub fn new(most: usize, wait: Duration, tallies: Vec<Tally>) -> Self {
        Self {
            most,
            wait,
            next: 0,
            open: HashMap::new(),
            given_up: HashSet::new(),
            tallies,
            late: 0,
            twice: 0,
            last_end: Duration::ZERO,
        }
    }

    /// Notes a request that is sent now, and gives its number; none if too many are outstanding.
    pub fn ask(&mut self, due: Due, now: Duration) -> Option<u64> {
        let full = self.open.len() >= self.most;
        if let Some(tally) = self.tallies.get_mut(due.choice.target).filter(|_| due.counted) {
            tally.asked += 1;
            if full {
                tally.not_sent += 1;
            } else {
                tally.sent(now.saturating_sub(due.intended));
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

    /// What is outstanding under this number.
    pub fn due(&self, number: u64) -> Option<Due> {
        self.open.get(&number).copied()
    }

    /// Whether a request was outstanding that has its end now.
    pub fn end(&mut self, number: u64, now: Duration, end: End) -> bool {
        let Some(due) = self.open.remove(&number) else {
            if self.given_up.remove(&number) {
                self.late += 1;
            } else {
                self.twice += 1;
            }
            return false;
        };
        if let Some(tally) = self.tallies.get_mut(due.choice.target).filter(|_| due.counted) {
            self.last_end = self.last_end.max(now);
            tally.ended(now.saturating_sub(due.intended), end);
        }
        true
    }

    /// Gives up what has been waited for long enough.
    pub fn give_up(&mut self, now: Duration) -> Vec<Lost> {
        let wait = self.wait;
        let old = |due: &Due| now.saturating_sub(due.intended) >= wait;
        let numbers: Vec<u64> = self.open.iter().filter(|(_, due)| old(due)).map(|(number, _)| *number).collect();
        let mut lost = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(due) = self.open.remove(&number) else { continue };
            // Beyond this bound late answers pass for second ones; nothing is well by then.
            if self.given_up.len() < limits::BENCH_MOST_OUTSTANDING {
                self.given_up.insert(number);
            }
            lost.push(Lost { number, due });
        }
        lost
    }

    pub fn tally(&mut self, target: usize) -> Option<&mut Tally> {
        self.tallies.get_mut(target)
    }

    pub fn outstanding(&self) -> usize {
        self.open.len()
    }

    /// Ends the books: what is still outstanding was cut off.
    pub fn close(mut self) -> Vec<Tally> {
        for due in self.open.into_values().filter(|due| due.counted) {
            if let Some(tally) = self.tallies.get_mut(due.choice.target) {
                tally.unfinished += 1;
            }
        }
        self.tallies
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrivals::{Arrivals, Schedule};
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);
    const ONE: Choice = Choice { target: 0, payload: 0 };

    fn ledger(most: usize) -> Ledger {
        Ledger::new(most, Duration::from_secs(10), vec![Tally::new().expect("a tally")])
    }

    fn due(intended: Duration) -> Due {
        Due { intended, choice: ONE, counted: true }
    }

    /// A server that answers each request a millisecond after it came, but says nothing from second 1 to second 2; `blocks` if
    /// it keeps the sender, too.
    fn stalled(blocks: bool) -> Tally {
        let mut ledger = ledger(100_000);
        let stall = Duration::from_secs(1)..Duration::from_secs(2);
        for intended in Schedule::new(Arrivals::Even, 1000.0, 0).take(3000) {
            let sent = if blocks && stall.contains(&intended) { stall.end } else { intended };
            let number = ledger.ask(due(intended), sent).expect("a place");
            let answered = if stall.contains(&sent) { stall.end } else { sent } + MILLI;
            assert!(ledger.end(number, answered, End::Right));
        }
        ledger.close().remove(0)
    }

    #[test]
    fn a_stall_is_in_the_latency_of_all_that_was_due_meanwhile() {
        for blocks in [false, true] {
            let tally = stalled(blocks);
            assert_eq!(tally.right, 3000);
            // A third of the requests were due in the stall and waited half of it in the middle, whoever held them up.
            let quantile = |share| tally.latency(share).expect("answers").as_secs_f64();
            assert!((0.0009..0.0011).contains(&quantile(0.5)), "{}", quantile(0.5));
            assert!((0.49..0.51).contains(&quantile(5.0 / 6.0)), "{}", quantile(5.0 / 6.0));
            assert!((0.96..1.01).contains(&quantile(0.99)), "{}", quantile(0.99));
            let late = tally.lateness(0.99).expect("sent").as_secs_f64();
            assert_eq!(late > 0.9, blocks, "who was late is said apart: {late}");
        }
    }

    #[test]
    fn what_has_no_place_is_counted_and_not_sent() {
        let mut ledger = ledger(2);
        assert_eq!(ledger.ask(due(MILLI), MILLI), Some(0));
        assert_eq!(ledger.ask(due(MILLI), MILLI), Some(1));
        assert_eq!(ledger.ask(due(MILLI), MILLI), None);
        assert!(ledger.end(0, 2 * MILLI, End::Right));
        assert_eq!(ledger.ask(due(MILLI), MILLI), Some(2));
        let tally = ledger.close().remove(0);
        assert_eq!((tally.asked, tally.not_sent, tally.right, tally.unfinished), (4, 1, 1, 2));
    }

    #[test]
    fn second_and_late_answers_are_told_apart_and_change_nothing() {
        let mut ledger = ledger(10);
        let (first, second) = (ledger.ask(due(MILLI), MILLI), ledger.ask(due(MILLI), MILLI));
        let (first, second) = (first.expect("a place"), second.expect("a place"));
        assert!(ledger.end(first, 2 * MILLI, End::Right));
        assert!(!ledger.end(first, 3 * MILLI, End::Right));
        assert_eq!((ledger.twice, ledger.late), (1, 0));
        assert!(ledger.give_up(10 * Duration::from_secs(1)).is_empty(), "not yet");
        let lost = ledger.give_up(11 * Duration::from_secs(1));
        assert_eq!(lost.iter().map(|lost| lost.number).collect::<Vec<_>>(), [second]);
        assert!(!ledger.end(second, 12 * Duration::from_secs(1), End::Right));
        assert_eq!((ledger.twice, ledger.late), (1, 1));
        assert_eq!(ledger.close().remove(0).right, 1);
    }

    #[test]
    fn the_time_to_warm_up_is_not_counted() {
        let mut ledger = ledger(10);
        let number = ledger.ask(Due { counted: false, ..due(MILLI) }, MILLI).expect("a place");
        assert!(ledger.end(number, 2 * MILLI, End::Failed { code: "404".into(), text: String::new() }));
        assert_eq!(ledger.last_end, Duration::ZERO);
        ledger.ask(Due { counted: false, ..due(MILLI) }, MILLI).expect("a place");
        let tally = ledger.close().remove(0);
        assert_eq!((tally.asked, tally.failures(), tally.answered(), tally.unfinished), (0, 0, 0, 0));
    }

    #[test]
    fn each_target_has_books_of_its_own() {
        let tally = || Tally::new().expect("a tally");
        let mut ledger = Ledger::new(2, Duration::from_secs(10), vec![tally(), tally()]);
        let other = Due { choice: Choice { target: 1, payload: 0 }, ..due(MILLI) };
        let number = ledger.ask(other, MILLI).expect("a place");
        ledger.ask(other, MILLI).expect("a place");
        assert_eq!(ledger.ask(other, MILLI), None);
        assert!(ledger.end(number, 3 * MILLI, End::Right));
        assert_eq!((ledger.outstanding(), ledger.last_end), (1, 3 * MILLI));
        let tallies = ledger.close();
        let counts = |tally: &Tally| (tally.asked, tally.not_sent, tally.right, tally.unfinished);
        assert_eq!(tallies.iter().map(counts).collect::<Vec<_>>(), [(0, 0, 0, 0), (3, 1, 1, 1)]);
    }
}
