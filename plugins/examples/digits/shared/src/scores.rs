//! Decodes the model's answer: its ten logits as probabilities, the most likely digit first.

use std::fmt;

/// The digits 0 to 9.
pub const CLASSES: usize = 10;

/// A digit and its probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Guess {
    pub label: usize,
    pub confidence: f32,
}

/// An answer cannot be decoded. The model is at fault, never the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoresFault {
    Count { found: usize },
    NotFinite { label: usize },
}

impl fmt::Display for ScoresFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count { found } => {
                write!(f, "the model gave {found} logits instead of {CLASSES}: it is not the digit model")
            }
            Self::NotFinite { label } => write!(f, "the model's logit for {label} is not a finite number"),
        }
    }
}

impl std::error::Error for ScoresFault {}

/// All digits by the softmax of their logits, the most likely first. Of equal ones, the smaller digit comes first.
pub fn ranked(logits: &[f32]) -> Result<[Guess; CLASSES], ScoresFault> {
    let logits: &[f32; CLASSES] = logits.try_into().map_err(|_| ScoresFault::Count { found: logits.len() })?;
    if let Some(label) = logits.iter().position(|logit| !logit.is_finite()) {
        return Err(ScoresFault::NotFinite { label });
    }
    // Relative to the largest, so that exponentials cannot overflow.
    let largest = logits.iter().copied().fold(f32::MIN, f32::max);
    let weights = logits.map(|logit| (logit - largest).exp());
    let total: f32 = weights.iter().sum();
    let mut label = 0..;
    let mut guesses =
        weights.map(|weight| Guess { label: label.next().unwrap_or_default(), confidence: weight / total });
    // By logits, because different logits can have the same rounded probability.
    guesses.sort_by(|a, b| logit_of(logits, b).total_cmp(&logit_of(logits, a)));
    Ok(guesses)
}

fn logit_of(logits: &[f32; CLASSES], guess: &Guess) -> f32 {
    logits.get(guess.label).copied().unwrap_or(f32::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_likely_comes_first_and_all_add_up_to_one() {
        let guesses = ranked(&[0.0, 1.0, 5.0, -2.0, 5.0, 0.5, 0.0, 0.0, 0.0, 3.0]).unwrap();
        let labels: Vec<_> = guesses.iter().map(|guess| guess.label).collect();
        assert_eq!(labels, [2, 4, 9, 1, 5, 0, 6, 7, 8, 3]);
        let sum: f32 = guesses.iter().map(|guess| guess.confidence).sum();
        assert!((sum - 1.0).abs() < 1e-6);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let mut logits = [-1e38; CLASSES];
        logits[7] = 3e38;
        let [first, ..] = ranked(&logits).unwrap();
        assert_eq!(first, Guess { label: 7, confidence: 1.0 });
    }

    #[test]
    fn another_models_answer_is_rejected() {
        assert_eq!(ranked(&[0.0; 3]), Err(ScoresFault::Count { found: 3 }));
        let mut logits = [0.0; CLASSES];
        logits[4] = f32::NAN;
        assert_eq!(ranked(&logits), Err(ScoresFault::NotFinite { label: 4 }));
    }
}
