//! What nobody can do without: the model's own run, with its input prepared, and the same pre and post called natively.

use std::hint::black_box;
use std::path::Path;

use anyhow::Context as _;
use digits::Image;
use inferbus::job::{Stage, Transform};
use inferbus_abi::frame::{self, DataType, Tensor};
use inferbus_bench::native;
use inferbus_engine::{Runtime, load_runtime};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::clock::micros;
use crate::figures::Figure;
use crate::load::Load;
use crate::root;

const ROUNDS: usize = 101;
const CALLS: usize = 500;

/// Of the model, and of pre and post together.
pub fn measure() -> anyhow::Result<[Figure; 2]> {
    let library = std::env::var_os("ORT_DYLIB_PATH");
    let runtime = load_runtime(library.as_deref().map(Path::new))?;
    let mut session = session(&runtime)?;
    let payload = Load::pictures()?.into_iter().next().context("no held-out picture")?.0;
    let cells = Image::parse(&payload)?.cells();
    let input = TensorRef::from_array_view(([1_i64, 64], cells.as_slice()))?;
    let (mut pre, mut post) = (native::transform(Stage::Pre), native::transform(Stage::Post));
    let logits = logits()?;
    let (mut model, mut around) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        model.push(micros(CALLS, || {
            drop(black_box(session.run(vec![("pixels", &*input)])?));
            Ok(())
        })?);
        around.push(micros(CALLS, || {
            call(pre.as_mut(), &payload)?;
            call(post.as_mut(), &logits)
        })?);
    }
    let unit = "µs per message";
    Ok([Figure::of("floor.model_us", unit, model), Figure::of("floor.pre_post_us", unit, around)])
}

fn session(runtime: &Runtime) -> anyhow::Result<Session> {
    let model = std::fs::read(root().join("plugins/digits/model/digits.onnx"))?;
    let options = || {
        Session::builder(runtime.environment())?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(1)?
            .commit_from_memory(&model)
    };
    options().map_err(|fault: ort::Error| anyhow::anyhow!("the model: {}", fault.message()))
}

fn logits() -> anyhow::Result<Vec<u8>> {
    let data: Vec<u8> = (0..10).flat_map(|digit| (digit as f32 * 0.7 - 3.0).to_le_bytes()).collect();
    let logits = Tensor { name: "logits", dtype: DataType::F32, shape: (&[1, 10]).into(), data: &data };
    Ok(frame::encode(&[logits])?)
}

fn call(stage: &mut dyn Transform, input: &[u8]) -> anyhow::Result<()> {
    let reply = stage.call(input.len(), &mut |room| room.copy_from_slice(black_box(input)), &mut |_| {})?;
    black_box(reply.output);
    Ok(())
}
