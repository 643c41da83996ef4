//! Whether an answer is the right one: as expected, or as the first answer to the same payload.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::mix::Choice;
use super::tally::End;
use crate::limits;

/// Part of a message's results: 0 is the result itself, the others what was emitted.
pub type Part = u32;

pub struct Contents {
    check: Check,
    firsts: Mutex<Firsts>,
}

/// What answers are held against.
pub enum Check {
    Nothing,
    First,
    /// By target and payload; what is emitted is held against the first.
    Expected(Vec<Vec<Bytes>>),
}

#[derive(Default)]
struct Firsts {
    answers: HashMap<(usize, usize, Part), Bytes>,
    bytes: usize,
}

impl Contents {
    pub fn new(check: Check) -> Self {
        Self { check, firsts: Mutex::default() }
    }

    pub fn check(&self, choice: Choice, part: Part, answer: &[u8]) -> End {
        let expected = match &self.check {
            Check::Nothing => return End::Unchecked,
            Check::First => None,
            Check::Expected(_) if part > 0 => None,
            Check::Expected(expected) => expected.get(choice.target).and_then(|of| of.get(choice.payload)),
        };
        match expected {
            Some(expected) if expected == answer => End::Right,
            Some(expected) => End::Wrong(unlike(choice, "expected", expected, answer)),
            None => self.like_the_first(choice, part, answer),
        }
    }

    fn like_the_first(&self, choice: Choice, part: Part, answer: &[u8]) -> End {
        // A poisoned table is as good as any: entries are only ever added whole.
        let mut firsts = self.firsts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (choice.target, choice.payload, part);
        match firsts.answers.get(&key) {
            Some(first) if first == answer => End::Right,
            Some(first) => End::Differs(unlike(choice, "at first", first, answer)),
            None if firsts.bytes + answer.len() > limits::BENCH_ANSWER_BYTES => End::Unchecked,
            None => {
                firsts.bytes += answer.len();
                // A copy, because a slice of what was received would keep all of it.
                firsts.answers.insert(key, Bytes::copy_from_slice(answer));
                End::Right
            }
        }
    }
}

fn unlike(choice: Choice, held_against: &str, other: &[u8], answer: &[u8]) -> String {
    format!("payload {}: {held_against} {}, now {}", choice.payload + 1, excerpt(other), excerpt(answer))
}

fn excerpt(bytes: &[u8]) -> String {
    let cut = bytes.get(..limits::EXCERPT);
    let text = String::from_utf8_lossy(cut.unwrap_or(bytes));
    let text: String = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if cut.is_some() { format!("`{text}`… ({} bytes)", bytes.len()) } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(target: usize, payload: usize) -> Choice {
        Choice { target, payload }
    }

    #[test]
    fn answers_are_held_against_the_first_of_the_same_target_payload_and_part() {
        let contents = Contents::new(Check::First);
        for (target, payload, part, answer) in [(0, 0, 0, "a"), (0, 1, 0, "b"), (1, 0, 0, "c"), (0, 0, 1, "d")] {
            for _ in 0..2 {
                assert_eq!(contents.check(choice(target, payload), part, answer.as_bytes()), End::Right);
            }
        }
        assert!(
            matches!(contents.check(choice(0, 0), 0, b"b"), End::Differs(text) if text.contains("at first `a`, now `b`"))
        );
        assert_eq!(Contents::new(Check::Nothing).check(choice(0, 0), 0, b"x"), End::Unchecked);
    }

    #[test]
    fn expected_answers_are_exact_bytes() {
        let contents = Contents::new(Check::Expected(vec![vec!["one".into(), "two".into()]]));
        assert_eq!(contents.check(choice(0, 1), 0, b"two"), End::Right);
        assert!(matches!(contents.check(choice(0, 0), 0, b"two"), End::Wrong(_)), "the first is not learnt");
        assert!(matches!(contents.check(choice(0, 0), 0, b"one "), End::Wrong(_)));
        assert_eq!(contents.check(choice(0, 0), 1, b"emitted"), End::Right);
        assert!(matches!(contents.check(choice(0, 0), 1, b"other"), End::Differs(_)));
    }
}
