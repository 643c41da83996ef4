//! Comparison of answers with expected ones, or with the first answer to the same payload.

use std::collections::HashMap;
use std::sync::Mutex;

use bytes::Bytes;

use super::stats::Verdict;
use crate::generate::picker::Choice;
use crate::limits;

/// The number of a message's result: 0 is the result, higher numbers are emitted events.
pub type Part = u32;

pub struct AnswerCheck {
    expectation: Expectation,
    firsts: Mutex<Firsts>,
}

/// The reference of the comparison.
pub enum Expectation {
    Nothing,
    First,
    /// By target and payload. Emitted events are compared with the first ones.
    Expected(Vec<Vec<Bytes>>),
}

#[derive(Default)]
struct Firsts {
    answers: HashMap<(usize, usize, Part), Bytes>,
    bytes: usize,
}

impl AnswerCheck {
    pub fn new(expectation: Expectation) -> Self {
        Self { expectation, firsts: Mutex::default() }
    }

    pub fn check(&self, choice: Choice, part: Part, answer: &[u8]) -> Verdict {
        let expected = match &self.expectation {
            Expectation::Nothing => return Verdict::Unchecked,
            Expectation::First => None,
            Expectation::Expected(_) if part > 0 => None,
            Expectation::Expected(expected) => expected.get(choice.target).and_then(|of| of.get(choice.payload)),
        };
        match expected {
            Some(expected) if expected == answer => Verdict::Right,
            Some(expected) => Verdict::Wrong(difference(choice, "expected", expected, answer)),
            None => self.same_as_first(choice, part, answer),
        }
    }

    fn same_as_first(&self, choice: Choice, part: Part, answer: &[u8]) -> Verdict {
        // Entries are inserted whole, so a poisoned map is consistent.
        let mut firsts = self.firsts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let key = (choice.target, choice.payload, part);
        match firsts.answers.get(&key) {
            Some(first) if first == answer => Verdict::Right,
            Some(first) => Verdict::Differs(difference(choice, "at first", first, answer)),
            None if firsts.bytes + answer.len() > limits::ANSWER_BYTES => Verdict::Unchecked,
            None => {
                firsts.bytes += answer.len();
                // A slice would keep the whole received buffer.
                firsts.answers.insert(key, Bytes::copy_from_slice(answer));
                Verdict::Right
            }
        }
    }
}

fn difference(choice: Choice, reference: &str, other: &[u8], answer: &[u8]) -> String {
    format!("payload {}: {reference} {}, now {}", choice.payload + 1, excerpt(other), excerpt(answer))
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
    fn answers_are_compared_with_the_first_of_the_same_target_payload_and_part() {
        let answers = AnswerCheck::new(Expectation::First);
        for (target, payload, part, answer) in [(0, 0, 0, "a"), (0, 1, 0, "b"), (1, 0, 0, "c"), (0, 0, 1, "d")] {
            for _ in 0..2 {
                assert_eq!(answers.check(choice(target, payload), part, answer.as_bytes()), Verdict::Right);
            }
        }
        let verdict = answers.check(choice(0, 0), 0, b"b");
        assert!(matches!(verdict, Verdict::Differs(text) if text.contains("at first `a`, now `b`")));
        assert_eq!(AnswerCheck::new(Expectation::Nothing).check(choice(0, 0), 0, b"x"), Verdict::Unchecked);
    }

    #[test]
    fn expected_answers_are_exact_bytes() {
        let answers = AnswerCheck::new(Expectation::Expected(vec![vec!["one".into(), "two".into()]]));
        assert_eq!(answers.check(choice(0, 1), 0, b"two"), Verdict::Right);
        assert!(
            matches!(answers.check(choice(0, 0), 0, b"two"), Verdict::Wrong(_)),
            "an expected answer is not replaced by the first one"
        );
        assert!(matches!(answers.check(choice(0, 0), 0, b"one "), Verdict::Wrong(_)));
        assert_eq!(answers.check(choice(0, 0), 1, b"emitted"), Verdict::Right);
        assert!(matches!(answers.check(choice(0, 0), 1, b"other"), Verdict::Differs(_)));
    }
}
