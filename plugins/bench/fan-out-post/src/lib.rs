//! A message for each of the eight likeliest digits, under its rank, and no result beside them.

#![forbid(unsafe_code)]

use digits::{ScoresFault, ranked};
use inferbus_plugin::{Tensor, emit};

const RESULTS: usize = 8;

#[inferbus_plugin::transform]
fn eight(logits: Tensor<f32>) -> Result<(), ScoresFault> {
    for (rank, guess) in (1..=RESULTS).zip(ranked(&logits.elements)?) {
        let json = format!(r#"{{"rank":{rank},"label":{},"confidence":{:.4}}}"#, guess.label, guess.confidence);
        emit(&format!("rank.{rank}"), json);
    }
    Ok(())
}
