//! Stored messages: the request of each sequence, and its results so far.
//!
//! Guarantees: each stored message ends with each of its results once, or with one dead letter. Anything else is
//! reported. A result may precede the publish ack of its message, so early results are kept.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::answers::Part;
use super::stats::Verdict;
use crate::generate::picker::Choice;
use crate::limits;

/// A received outcome of a stored message.
#[derive(Clone, Debug)]
pub enum Arrival {
    Result(Part, Bytes),
    DeadLetter { reason: String, text: String },
}

/// An arrival with its time.
pub type TimedArrival = (Duration, Arrival);

#[derive(Debug, PartialEq, Eq)]
pub enum Progress {
    /// The message is not known yet.
    Early,
    /// More results are due.
    Part,
    /// The message has ended.
    Ended(u64, Verdict),
    /// A duplicate, or one result too many.
    Twice(String),
}

pub struct StreamMessages {
    /// Per message.
    results: u32,
    known: HashMap<u64, Entry>,
    early: HashMap<u64, Vec<TimedArrival>>,
    early_count: usize,
    /// Early arrivals above the bound.
    pub dropped: u64,
}

struct Entry {
    number: u64,
    choice: Choice,
    seen: u64,
    dead: bool,
    /// The first wrong answer.
    bad: Option<Box<Verdict>>,
}

impl StreamMessages {
    pub fn new(results: u32) -> Self {
        Self { results, known: HashMap::new(), early: HashMap::new(), early_count: 0, dropped: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.known.len() >= limits::STORED
    }

    /// Notes the sequence of a request, and returns its early arrivals.
    pub fn stored(&mut self, sequence: u64, number: u64, choice: Choice) -> Vec<TimedArrival> {
        self.known.insert(sequence, Entry { number, choice, seen: 0, dead: false, bad: None });
        let early = self.early.remove(&sequence).unwrap_or_default();
        self.early_count -= early.len();
        early
    }

    /// Notes an arrival; `check` compares a result.
    pub fn arrived(
        &mut self,
        sequence: u64,
        arrival: TimedArrival,
        check: impl Fn(Choice, Part, &[u8]) -> Verdict,
    ) -> Progress {
        let Some(entry) = self.known.get_mut(&sequence) else {
            if self.early_count < limits::EARLY {
                self.early_count += 1;
                self.early.entry(sequence).or_default().push(arrival);
            } else {
                self.dropped += 1;
            }
            return Progress::Early;
        };
        match arrival.1 {
            Arrival::DeadLetter { reason, text } => entry.dead_letter(sequence, self.results, reason, text),
            Arrival::Result(part, answer) => {
                let end = check(entry.choice, part, &answer);
                entry.result(sequence, self.results, part, end)
            }
        }
    }

    /// The sequence of a stored request.
    pub fn sequence(&self, number: u64) -> Option<u64> {
        self.known.iter().find(|(_, entry)| entry.number == number).map(|(sequence, _)| *sequence)
    }

    /// Arrivals of other publishers' messages.
    pub fn foreign(&self) -> u64 {
        self.early_count as u64 + self.dropped
    }
}

impl Entry {
    fn dead_letter(&mut self, sequence: u64, results: u32, reason: String, text: String) -> Progress {
        if self.dead {
            return Progress::Twice(format!("sequence {sequence} has two dead letters"));
        }
        self.dead = true;
        if self.seen.count_ones() >= results {
            return Progress::Twice(format!("sequence {sequence} has a dead letter beside its result"));
        }
        Progress::Ended(
            self.number,
            Verdict::Failed { code: reason, text: format!("dead letter of sequence {sequence}: {text}") },
        )
    }

    fn result(&mut self, sequence: u64, results: u32, part: Part, end: Verdict) -> Progress {
        let bit = 1_u64.checked_shl(part).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            return Progress::Twice(format!("sequence {sequence} has its result {part} twice"));
        }
        if self.dead {
            return Progress::Twice(format!("sequence {sequence} has a result beside its dead letter"));
        }
        if self.seen.count_ones() >= results {
            return Progress::Twice(format!("sequence {sequence} has more than {results} results"));
        }
        self.seen |= bit;
        if !matches!(end, Verdict::Right | Verdict::Unchecked) && self.bad.is_none() {
            self.bad = Some(Box::new(end.clone()));
        }
        if self.seen.count_ones() < results {
            return Progress::Part;
        }
        Progress::Ended(self.number, self.bad.take().map_or(end, |bad| *bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Choice = Choice { target: 0, payload: 0 };

    fn result(part: Part) -> TimedArrival {
        (Duration::ZERO, Arrival::Result(part, Bytes::from_static(b"r")))
    }

    fn dead() -> TimedArrival {
        (Duration::ZERO, Arrival::DeadLetter { reason: "trap".into(), text: "it trapped".into() })
    }

    fn right(_: Choice, _: Part, _: &[u8]) -> Verdict {
        Verdict::Right
    }

    #[test]
    fn each_message_ends_once_and_surplus_is_reported() {
        let mut messages = StreamMessages::new(1);
        assert!(messages.stored(5, 0, ONE).is_empty());
        assert_eq!(messages.arrived(5, result(0), right), Progress::Ended(0, Verdict::Right));
        assert_eq!(messages.arrived(5, result(0), right), Progress::Twice("sequence 5 has its result 0 twice".into()));
        assert_eq!(messages.arrived(5, result(1), right), Progress::Twice("sequence 5 has more than 1 results".into()));
        assert_eq!(
            messages.arrived(5, dead(), right),
            Progress::Twice("sequence 5 has a dead letter beside its result".into())
        );
        messages.stored(6, 1, ONE);
        let ended = messages.arrived(6, dead(), right);
        assert!(matches!(ended, Progress::Ended(1, Verdict::Failed { code, .. }) if code == "trap"));
        assert!(matches!(messages.arrived(6, dead(), right), Progress::Twice(_)));
        assert!(matches!(messages.arrived(6, result(0), right), Progress::Twice(_)));
        assert_eq!((messages.sequence(1), messages.sequence(2)), (Some(6), None));
    }

    #[test]
    fn all_results_of_a_message_are_counted_and_a_wrong_one_decides() {
        let mut messages = StreamMessages::new(3);
        messages.stored(1, 0, ONE);
        let wrong =
            |_: Choice, part: Part, _: &[u8]| if part == 1 { Verdict::Wrong("w".into()) } else { Verdict::Right };
        assert_eq!(messages.arrived(1, result(1), wrong), Progress::Part);
        assert!(matches!(messages.arrived(1, result(400), wrong), Progress::Twice(_)), "beyond the largest number");
        assert_eq!(messages.arrived(1, result(2), wrong), Progress::Part);
        assert!(matches!(messages.arrived(1, result(2), wrong), Progress::Twice(_)));
        assert_eq!(messages.arrived(1, result(0), wrong), Progress::Ended(0, Verdict::Wrong("w".into())));
    }

    #[test]
    fn a_dead_letter_ends_an_incomplete_message() {
        let mut messages = StreamMessages::new(2);
        messages.stored(1, 7, ONE);
        assert_eq!(messages.arrived(1, result(1), right), Progress::Part);
        assert!(matches!(messages.arrived(1, dead(), right), Progress::Ended(7, Verdict::Failed { .. })));
        assert!(matches!(messages.arrived(1, result(0), right), Progress::Twice(_)));
    }

    #[test]
    fn early_arrivals_are_kept_up_to_a_bound() {
        let mut messages = StreamMessages::new(1);
        let at = Duration::from_secs(3);
        assert_eq!(messages.arrived(9, (at, result(0).1), right), Progress::Early);
        let early = messages.stored(9, 4, ONE);
        assert_eq!(early.iter().map(|arrival| arrival.0).collect::<Vec<_>>(), [at], "its own time is kept");
        for arrival in early {
            assert_eq!(messages.arrived(9, arrival, right), Progress::Ended(4, Verdict::Right));
        }
        assert_eq!(messages.foreign(), 0);
        let more = limits::EARLY as u64 + 3;
        (0..more).for_each(|number| assert_eq!(messages.arrived(100 + number, result(0), right), Progress::Early));
        assert_eq!((messages.foreign(), messages.dropped), (more, 3));
    }
}
