//! The function of each plugin, without the SDK.

use bench_kernels::doubt::is_doubtful;
use bench_kernels::odds::{best_as_json, likeliest};
use bench_kernels::{image, jpeg, sound};
use digits::{CLASSES, Guess, Image, SIDE, ranked};
use inferbus_abi::frame::{DataType, Frame};
use inferbus_sandbox::Emit;

use super::transform::{Both, Output};

/// Results of one message of the fan-out.
const FANNED: usize = 8;

pub(super) const DIGITS: Both = Both { pre: cells, post: digit };

pub(super) fn of(workload: &str) -> Option<Both> {
    Some(match workload {
        "tiny" => DIGITS,
        "filter" => Both { pre: cells, post: doubtful },
        "fan_out" => Both { pre: cells, post: eight },
        "audio" => Both { pre: features, post: word },
        "image" => Both { pre: planes, post: five },
        "jpeg" => Both { pre: decoded, post: five },
        _ => return None,
    })
}

/// digits-pre 1.0.0
fn cells(payload: &[u8], output: &mut Output) -> Result<(), String> {
    let image = Image::parse(payload).map_err(|fault| fault.to_string())?;
    if image.inverted {
        return Err("inverted images are read from version 1.1.0 on".into());
    }
    output.tensor("pixels", &[1, (SIDE * SIDE) as u64], |cells| {
        cells.copy_from_slice(&image.cells());
        Ok(())
    })
}

/// digits-post 1.0.0
fn digit(payload: &[u8], output: &mut Output) -> Result<(), String> {
    let [first, ..] = guesses(payload)?;
    output.text(&format!(r#"{{"label":{},"confidence":{:.4}}}"#, first.label, first.confidence));
    Ok(())
}

/// bench-filter-post
fn doubtful(payload: &[u8], output: &mut Output) -> Result<(), String> {
    let [first, ..] = guesses(payload)?;
    if is_doubtful(first.confidence) {
        output.text(&format!(r#"{{"label":{},"confidence":{:.4}}}"#, first.label, first.confidence));
    }
    Ok(())
}

/// bench-fan-out-post
fn eight(payload: &[u8], output: &mut Output) -> Result<(), String> {
    for (rank, guess) in (1..=FANNED).zip(guesses(payload)?) {
        let json = format!(r#"{{"rank":{rank},"label":{},"confidence":{:.4}}}"#, guess.label, guess.confidence);
        output.emits.push(Emit { topic: format!("rank.{rank}"), payload: json.into() });
    }
    Ok(())
}

/// bench-audio-pre
fn features(payload: &[u8], output: &mut Output) -> Result<(), String> {
    output.tensor("features", &sound::SHAPE, |features| sound::features(payload, features))
}

/// bench-audio-post
fn word(payload: &[u8], output: &mut Output) -> Result<(), String> {
    let guess = likeliest(&numbers(payload)?).ok_or("the model gave no logits")?;
    let word = sound::WORDS.get(guess.label).ok_or("the model has more words than the plugin")?;
    output.text(&format!(r#"{{"label":"{word}","confidence":{:.4}}}"#, guess.confidence));
    Ok(())
}

/// bench-image
fn planes(payload: &[u8], output: &mut Output) -> Result<(), String> {
    output
        .tensor("image", &image::SHAPE, |planes| image::normalise(payload, planes).map_err(|misfit| misfit.to_string()))
}

/// bench-jpeg-pre
fn decoded(payload: &[u8], output: &mut Output) -> Result<(), String> {
    planes(&jpeg::pixels(payload)?, output)
}

/// bench-image-post
fn five(payload: &[u8], output: &mut Output) -> Result<(), String> {
    output.text(&best_as_json(&numbers(payload)?).ok_or("the model has fewer than five classes")?);
    Ok(())
}

fn guesses(payload: &[u8]) -> Result<[Guess; CLASSES], String> {
    ranked(&numbers(payload)?).map_err(|fault| fault.to_string())
}

/// The numbers of the first output.
fn numbers(payload: &[u8]) -> Result<Vec<f32>, String> {
    let frame = Frame::decode(payload).map_err(|fault| fault.to_string())?;
    let tensor = frame.tensors().next().filter(|tensor| tensor.dtype == DataType::F32).ok_or("no numbers")?;
    Ok(tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}
