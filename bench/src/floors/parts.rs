//! The indispensable work: a run of the model with prepared input, and native calls of pre and post.

use std::hint::black_box;

use anyhow::Context as _;
use digits::Image;
use inferbus_abi::frame::{self, DataType, Tensor};
use inferbus_bench::helpers::native;
use inferbus_pipeline::{Stage, Transform};
use ort::value::TensorRef;

use crate::floors::bare_ort;
use crate::load::Load;
use crate::machine::clock::micros;
use crate::paper::figure::Figure;
use crate::project::root;

const ROUNDS: usize = 101;
const CALLS: usize = 500;

/// Figures of the model, and of pre and post together.
pub fn measure() -> anyhow::Result<[Figure; 2]> {
    let model = std::fs::read(root().join("plugins/examples/digits/model/digits.onnx"))?;
    let mut session = bare_ort::session(&bare_ort::runtime()?, &model)?;
    let payload = Load::pictures()?.into_iter().next().context("the first held-out picture")?.0;
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
