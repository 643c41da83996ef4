//! The likeliest word and its probability.

#![forbid(unsafe_code)]

use bench_kernels::odds::likeliest;
use bench_kernels::sound::WORDS;
use inferbus_plugin::Tensor;

#[inferbus_plugin::transform]
fn word(logits: Tensor<f32>) -> Result<String, &'static str> {
    let guess = likeliest(&logits.elements).ok_or("the model gave no logits")?;
    let word = WORDS.get(guess.label).ok_or("the model knows more words than the plugin")?;
    Ok(format!(r#"{{"label":"{word}","confidence":{:.4}}}"#, guess.confidence))
}
