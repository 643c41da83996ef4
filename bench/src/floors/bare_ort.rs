//! A model on bare `ort`, for comparison with the engine.

use std::path::Path;
use std::time::Instant;

use inferbus_engine::{Runtime, load_runtime};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::workloads::models;

pub fn runtime() -> anyhow::Result<Runtime> {
    let library = std::env::var_os("ORT_DYLIB_PATH");
    Ok(load_runtime(library.as_deref().map(Path::new))?)
}

pub fn session(runtime: &Runtime, model: &[u8]) -> anyhow::Result<Session> {
    let options = || {
        Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .commit_from_memory(model)
    };
    options().map_err(|fault: ort::Error| anyhow::anyhow!("the model: {}", fault.message()))
}

/// Milliseconds from a model's file to the first result, in a process without earlier sessions.
pub fn first(model: &Path) -> anyhow::Result<f64> {
    let runtime = runtime()?;
    let started = Instant::now();
    let mut session = Session::builder(runtime.environment())
        .and_then(|builder| Ok(builder.with_optimization_level(GraphOptimizationLevel::All)?))
        .and_then(|builder| Ok(builder.with_intra_threads(1)?))
        .and_then(|mut builder| builder.commit_from_file(model))
        .map_err(|fault: ort::Error| anyhow::anyhow!("the model: {}", fault.message()))?;
    let row: Vec<f32> = models::numbers(models::LARGE_SEED).take(models::LARGE_WIDTH).collect();
    run_row(&mut session, &row)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

/// The first output for one row as the only input.
pub fn run_row(session: &mut Session, row: &[f32]) -> anyhow::Result<Vec<f32>> {
    let input = TensorRef::from_array_view(([1, row.len() as i64], row))?;
    let outputs = session.run(ort::inputs![input])?;
    let (_, numbers) = outputs[0].try_extract_tensor::<f32>()?;
    Ok(numbers.to_vec())
}
