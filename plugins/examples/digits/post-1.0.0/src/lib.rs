//! Turns the model's logits into the result: the most likely digit and its probability.

#![forbid(unsafe_code)]

use digits::{ScoresFault, ranked};
use inferbus_plugin::Tensor;

#[inferbus_plugin::transform]
fn result(logits: Tensor<f32>) -> Result<String, ScoresFault> {
    let [first, ..] = ranked(&logits.elements)?;
    Ok(format!(r#"{{"label":{},"confidence":{:.4}}}"#, first.label, first.confidence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_the_most_likely_digit() {
        let mut logits = [0.0f32; 10];
        logits[7] = 10.0;
        let logits = Tensor::new("logits", [1, 10], logits);
        assert_eq!(result(logits).unwrap(), r#"{"label":7,"confidence":0.9996}"#);
    }
}
