//! A model on bare `ort`, with nothing around it: what the engine is compared with.

use std::path::Path;

use inferbus_engine::{Runtime, load_runtime};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

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

/// The first output for one row as the only input.
pub fn run_row(session: &mut Session, row: &[f32]) -> anyhow::Result<Vec<f32>> {
    let input = TensorRef::from_array_view(([1, row.len() as i64], row))?;
    let outputs = session.run(ort::inputs![input])?;
    let (_, numbers) = outputs[0].try_extract_tensor::<f32>()?;
    Ok(numbers.to_vec())
}
