//! The likeliest of many classes.

use std::fmt::Write as _;

/// So many are told of a picture.
const BEST: usize = 5;

/// A class and its odds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Guess {
    pub label: usize,
    pub confidence: f32,
}

/// The likeliest first; where two are equal, the smaller label first. None if there are fewer than `N`.
pub fn best<const N: usize>(odds: &[f32]) -> Option<[Guess; N]> {
    let nothing = Guess { label: 0, confidence: f32::NEG_INFINITY };
    let mut best = [nothing; N];
    for (label, &confidence) in odds.iter().enumerate() {
        if best.last().is_none_or(|last| confidence <= last.confidence) {
            continue;
        }
        let at = best.partition_point(|guess| guess.confidence >= confidence);
        if let Some(worse) = best.get_mut(at..) {
            worse.rotate_right(1);
            worse.iter_mut().take(1).for_each(|place| *place = Guess { label, confidence });
        }
    }
    (odds.len() >= N).then_some(best)
}

/// What is told of a picture.
pub fn best_as_json(odds: &[f32]) -> Option<String> {
    const USUAL_LEN: usize = 192;
    let mut json = String::with_capacity(USUAL_LEN);
    let mut before = r#"{"top":["#;
    for Guess { label, confidence } in best::<BEST>(odds)? {
        // Writing to a string cannot fail.
        let _ = write!(json, r#"{before}{{"label":{label},"confidence":{confidence:.4}}}"#);
        before = ",";
    }
    json.push_str("]}");
    Some(json)
}

/// The likeliest class by the softmax of the logits.
pub fn likeliest(logits: &[f32]) -> Option<Guess> {
    let [Guess { label, confidence: largest }] = best(logits)?;
    // Counted from the largest, so that no exponential overflows.
    let total: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
    Some(Guess { label, confidence: 1.0 / total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_in_order() {
        let odds = [0.1, 0.3, 0.05, 0.3, 0.2, 0.05];
        let labels = best::<4>(&odds).unwrap().map(|guess| guess.label);
        assert_eq!(labels, [1, 3, 4, 0]);
        assert_eq!(best::<7>(&odds), None);
    }

    #[test]
    fn the_likeliest_has_its_share() {
        let guess = likeliest(&[0.0, 2.0, -1.0]).unwrap();
        let share = 2f32.exp() / (1.0 + 2f32.exp() + (-1f32).exp());
        assert!(guess.label == 1 && (guess.confidence - share).abs() < 1e-6);
    }
}
