//! A stream's messages: which sequence is which request, and what has come of each.
//!
//! Promises: every stored message has exactly its results, each once, or one dead letter; whatever else comes is told. A result
//! may come before the server's word of the sequence, so it waits until it is known whose it is.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;

use super::contents::Part;
use super::mix::Choice;
use super::tally::End;
use crate::limits;

/// What came of a stored message.
#[derive(Clone, Debug)]
pub enum News {
    Result(Part, Bytes),
    DeadLetter { reason: String, text: String },
}

/// News that came at this time.
pub type Heard = (Duration, News);

#[derive(Debug, PartialEq, Eq)]
pub enum Fate {
    /// Whose it is will be known later, or never.
    Early,
    /// More is to come.
    Part,
    /// The message has its end.
    Ended(u64, End),
    /// This came before, or is more than there should be.
    Twice(String),
}

pub struct Book {
    /// Results of one message.
    results: u32,
    known: HashMap<u64, Entry>,
    early: HashMap<u64, Vec<Heard>>,
    early_count: usize,
    /// News of messages that nobody here has published, beyond those that are kept.
    pub dropped: u64,
}

struct Entry {
    number: u64,
    choice: Choice,
    seen: u64,
    dead: bool,
    /// The first answer that was not right.
    bad: Option<Box<End>>,
}

impl Book {
    pub fn new(results: u32) -> Self {
        Self { results, known: HashMap::new(), early: HashMap::new(), early_count: 0, dropped: 0 }
    }

    pub fn is_full(&self) -> bool {
        self.known.len() >= limits::BENCH_STORED
    }

    /// A request was stored under this sequence. What came of it before is given back, to be heard again.
    pub fn stored(&mut self, sequence: u64, number: u64, choice: Choice) -> Vec<Heard> {
        self.known.insert(sequence, Entry { number, choice, seen: 0, dead: false, bad: None });
        let early = self.early.remove(&sequence).unwrap_or_default();
        self.early_count -= early.len();
        early
    }

    /// Something came of a message; `check` says whether it is the right answer.
    pub fn heard(&mut self, sequence: u64, heard: Heard, check: impl Fn(Choice, Part, &[u8]) -> End) -> Fate {
        let Some(entry) = self.known.get_mut(&sequence) else {
            if self.early_count < limits::BENCH_EARLY {
                self.early_count += 1;
                self.early.entry(sequence).or_default().push(heard);
            } else {
                self.dropped += 1;
            }
            return Fate::Early;
        };
        match heard.1 {
            News::DeadLetter { reason, text } => entry.died(sequence, self.results, reason, text),
            News::Result(part, answer) => {
                let end = check(entry.choice, part, &answer);
                entry.result(sequence, self.results, part, end)
            }
        }
    }

    /// The sequence of a request, if it was stored.
    pub fn sequence(&self, number: u64) -> Option<u64> {
        self.known.iter().find(|(_, entry)| entry.number == number).map(|(sequence, _)| *sequence)
    }

    /// News of messages of others.
    pub fn foreign(&self) -> u64 {
        self.early_count as u64 + self.dropped
    }
}

impl Entry {
    fn died(&mut self, sequence: u64, results: u32, reason: String, text: String) -> Fate {
        if self.dead {
            return Fate::Twice(format!("sequence {sequence} has two dead letters"));
        }
        self.dead = true;
        if self.seen.count_ones() >= results {
            return Fate::Twice(format!("sequence {sequence} has a dead letter beside its result"));
        }
        Fate::Ended(
            self.number,
            End::Failed { code: reason, text: format!("dead letter of sequence {sequence}: {text}") },
        )
    }

    fn result(&mut self, sequence: u64, results: u32, part: Part, end: End) -> Fate {
        let bit = 1_u64.checked_shl(part).unwrap_or(0);
        if bit == 0 || self.seen & bit != 0 {
            return Fate::Twice(format!("sequence {sequence} has its result {part} twice"));
        }
        if self.dead {
            return Fate::Twice(format!("sequence {sequence} has a result beside its dead letter"));
        }
        if self.seen.count_ones() >= results {
            return Fate::Twice(format!("sequence {sequence} has more than {results} results"));
        }
        self.seen |= bit;
        if !matches!(end, End::Right | End::Unchecked) && self.bad.is_none() {
            self.bad = Some(Box::new(end.clone()));
        }
        if self.seen.count_ones() < results {
            return Fate::Part;
        }
        Fate::Ended(self.number, self.bad.take().map_or(end, |bad| *bad))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Choice = Choice { target: 0, payload: 0 };

    fn result(part: Part) -> Heard {
        (Duration::ZERO, News::Result(part, Bytes::from_static(b"r")))
    }

    fn dead() -> Heard {
        (Duration::ZERO, News::DeadLetter { reason: "trap".into(), text: "it trapped".into() })
    }

    fn right(_: Choice, _: Part, _: &[u8]) -> End {
        End::Right
    }

    #[test]
    fn each_message_has_one_end_and_what_is_more_is_told() {
        let mut book = Book::new(1);
        assert!(book.stored(5, 0, ONE).is_empty());
        assert_eq!(book.heard(5, result(0), right), Fate::Ended(0, End::Right));
        assert_eq!(book.heard(5, result(0), right), Fate::Twice("sequence 5 has its result 0 twice".into()));
        assert_eq!(book.heard(5, result(1), right), Fate::Twice("sequence 5 has more than 1 results".into()));
        assert_eq!(book.heard(5, dead(), right), Fate::Twice("sequence 5 has a dead letter beside its result".into()));
        book.stored(6, 1, ONE);
        assert!(matches!(book.heard(6, dead(), right), Fate::Ended(1, End::Failed { code, .. }) if code == "trap"));
        assert!(matches!(book.heard(6, dead(), right), Fate::Twice(_)));
        assert!(matches!(book.heard(6, result(0), right), Fate::Twice(_)));
        assert_eq!((book.sequence(1), book.sequence(2)), (Some(6), None));
    }

    #[test]
    fn several_results_of_a_message_are_counted_and_one_that_is_wrong_makes_it_wrong() {
        let mut book = Book::new(3);
        book.stored(1, 0, ONE);
        let wrong = |_: Choice, part: Part, _: &[u8]| if part == 1 { End::Wrong("w".into()) } else { End::Right };
        assert_eq!(book.heard(1, result(1), wrong), Fate::Part);
        assert!(matches!(book.heard(1, result(400), wrong), Fate::Twice(_)), "no message has so many");
        assert_eq!(book.heard(1, result(2), wrong), Fate::Part);
        assert!(matches!(book.heard(1, result(2), wrong), Fate::Twice(_)));
        assert_eq!(book.heard(1, result(0), wrong), Fate::Ended(0, End::Wrong("w".into())));
    }

    #[test]
    fn a_dead_letter_ends_a_message_that_has_some_of_its_results() {
        let mut book = Book::new(2);
        book.stored(1, 7, ONE);
        assert_eq!(book.heard(1, result(1), right), Fate::Part);
        assert!(matches!(book.heard(1, dead(), right), Fate::Ended(7, End::Failed { .. })));
        assert!(matches!(book.heard(1, result(0), right), Fate::Twice(_)));
    }

    #[test]
    fn what_comes_before_its_sequence_is_known_waits_within_a_bound() {
        let mut book = Book::new(1);
        let at = Duration::from_secs(3);
        assert_eq!(book.heard(9, (at, result(0).1), right), Fate::Early);
        let early = book.stored(9, 4, ONE);
        assert_eq!(early.iter().map(|heard| heard.0).collect::<Vec<_>>(), [at], "it came when it came");
        for heard in early {
            assert_eq!(book.heard(9, heard, right), Fate::Ended(4, End::Right));
        }
        assert_eq!(book.foreign(), 0);
        let more = limits::BENCH_EARLY as u64 + 3;
        (0..more).for_each(|number| assert_eq!(book.heard(100 + number, result(0), right), Fate::Early));
        assert_eq!((book.foreign(), book.dropped), (more, 3));
    }
}
