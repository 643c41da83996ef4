//! Turns the model's logits into the result. New in 1.1.0: the next three digits, and whether the first one is certain.

#![forbid(unsafe_code)]

mod config;

use config::Config;
use digits::{Guess, ScoresFault, ranked};
use inferbus_plugin::Tensor;
use std::sync::OnceLock;

const ALTERNATIVES: usize = 3;

static CONFIG: OnceLock<Config> = OnceLock::new();

#[inferbus_plugin::init]
fn configure(config: &str) -> Result<(), String> {
    let config = Config::parse(config)?;
    CONFIG.set(config).map_err(|_| "the config is already set".into())
}

#[inferbus_plugin::transform]
fn result(logits: Tensor<f32>) -> Result<String, ScoresFault> {
    let guesses = ranked(&logits.elements)?;
    Ok(json(&guesses, &CONFIG.get().copied().unwrap_or_default()))
}

fn json(guesses: &[Guess; digits::CLASSES], config: &Config) -> String {
    let [first, others @ ..] = guesses;
    let alternatives: Vec<String> =
        others.iter().take(ALTERNATIVES).map(pair).map(|pair| format!("{{{pair}}}")).collect();
    let certain = first.confidence >= config.threshold;
    format!(r#"{{"model":"digits",{},"certain":{certain},"alternatives":[{}]}}"#, pair(first), alternatives.join(","))
}

fn pair(guess: &Guess) -> String {
    format!(r#""label":{},"confidence":{:.4}"#, guess.label, guess.confidence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_has_alternatives_and_its_certainty() {
        let guesses = ranked(&[0.0, 2.0, 0.0, 1.0, 0.0, 0.0, 0.0, 9.0, 0.0, 3.0]).unwrap();
        let others = [(9, "0.0025"), (1, "0.0009"), (3, "0.0003")];
        let others = others.map(|(label, confidence)| format!(r#"{{"label":{label},"confidence":{confidence}}}"#));
        let rest = format!(r#""alternatives":[{}]"#, others.join(","));
        let expected =
            |certain| format!(r#"{{"model":"digits","label":7,"confidence":0.9956,"certain":{certain},{rest}}}"#);
        assert_eq!(json(&guesses, &Config { threshold: 0.8 }), expected(true));
        assert_eq!(json(&guesses, &Config { threshold: 0.999 }), expected(false));
    }
}
