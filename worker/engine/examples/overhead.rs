//! What a run through the engine costs beside a run through bare `ort` with a tensor prepared beforehand.
//!
//! `cargo run -p inferbus-engine --example overhead`, with `ORT_DYLIB_PATH` set to the library. Both sides take
//! turns in many short rounds; each side's figure is its median round, so that a busy machine disturbs both alike.

use std::{hint::black_box, path::Path, process::ExitCode, time::Instant};

use inferbus_abi::frame::{DataType, Frame, Tensor, encode};
use inferbus_engine::{Network, OnnxNetwork, Options, Runtime, load_runtime};
use ort::{
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const ROUNDS: usize = 201;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("overhead: {why}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Outcome<()> {
    let library = std::env::var_os("ORT_DYLIB_PATH");
    let runtime = load_runtime(library.as_deref().map(Path::new))?;
    println!("ONNX Runtime {}", runtime.version);
    compare(&runtime, "linear", &[("x", vec![1, 4])], 400)?;
    compare(&runtime, "matmul", &[("a", vec![64, 64]), ("b", vec![64, 64])], 200)?;
    compare(&runtime, "matmul", &[("a", vec![320, 320]), ("b", vec![320, 320])], 4)
}

/// Runs one model on f32 inputs, so many times per round.
fn compare(runtime: &Runtime, model: &str, inputs: &[(&str, Vec<u64>)], runs: usize) -> Outcome<()> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models");
    let bytes = std::fs::read(models.join(model).with_extension("onnx"))?;
    let numbers: Vec<Vec<f32>> = inputs.iter().map(|(_, shape)| values(shape)).collect();

    let data: Vec<Vec<u8>> = numbers.iter().map(|n| n.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let tensors: Vec<Tensor<'_>> = inputs
        .iter()
        .zip(&data)
        .map(|((name, shape), data)| Tensor { name, dtype: DataType::F32, shape: shape.as_slice().into(), data })
        .collect();
    let payload = encode(&tensors)?;
    let mut engine = OnnxNetwork::load(runtime, bytes.as_slice(), Options::default())?.session()?;

    let mut bare = bare_session(runtime, &bytes)?;
    let prepared = inputs
        .iter()
        .zip(&numbers)
        .map(|((name, shape), numbers)| {
            let shape: Vec<i64> = shape.iter().map(|&dim| dim as i64).collect();
            Ok((*name, TensorRef::from_array_view((shape, numbers.as_slice()))?))
        })
        .collect::<ort::Result<Vec<_>>>()?;

    let (mut engine_rounds, mut bare_rounds) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        engine_rounds.push(micros(runs, || {
            let inputs: Vec<Tensor<'_>> = Frame::decode(&payload)?.tensors().collect();
            Ok(engine.run(&inputs, &mut |outputs| {
                black_box(outputs.len());
            })?)
        })?);
        bare_rounds.push(micros(runs, || {
            let inputs: Vec<_> = prepared.iter().map(|(name, tensor)| (*name, &**tensor)).collect();
            drop(black_box(bare.run(inputs)?));
            Ok(())
        })?);
    }
    let (engine, bare) = (median(engine_rounds), median(bare_rounds));
    let shapes: Vec<_> = inputs.iter().map(|(_, shape)| format!("{shape:?}")).collect();
    let name = format!("{model} {}", shapes.join(" "));
    println!("{name:<28} engine {engine:8.2} µs   ort {bare:8.2} µs   ratio {:.3}", engine / bare);
    Ok(())
}

fn bare_session(runtime: &Runtime, bytes: &[u8]) -> ort::Result<Session> {
    Session::builder(runtime.environment())?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .commit_from_memory(bytes)
}

fn values(shape: &[u64]) -> Vec<f32> {
    (0..shape.iter().product()).map(|index| (index % 7) as f32).collect()
}

/// Microseconds of one run, as the mean of a round.
fn micros(runs: usize, mut run: impl FnMut() -> Outcome<()>) -> Outcome<f64> {
    let started = Instant::now();
    for _ in 0..runs {
        run()?;
    }
    Ok(started.elapsed().as_secs_f64() * 1e6 / runs as f64)
}

fn median(mut rounds: Vec<f64>) -> f64 {
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}
