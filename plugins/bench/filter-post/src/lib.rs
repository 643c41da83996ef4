//! The likeliest digit and its probability, if the model is not sure of it; otherwise no result.

#![forbid(unsafe_code)]

use bench_kernels::doubt::is_doubtful;
use digits::{ScoresFault, ranked};
use inferbus_plugin::Tensor;

#[inferbus_plugin::transform]
fn doubtful(logits: Tensor<f32>) -> Result<Option<String>, ScoresFault> {
    let [first, ..] = ranked(&logits.elements)?;
    let json = || format!(r#"{{"label":{},"confidence":{:.4}}}"#, first.label, first.confidence);
    Ok(is_doubtful(first.confidence).then(json))
}
