//! A run through the engine beside a run through bare `ort` with a prepared tensor.
//!
//! Guarantees: both sides alternate in short rounds. Their outputs are compared before the measurement.

use std::hint::black_box;

use anyhow::{Context as _, ensure};
use inferbus_abi::frame::{DataType, Frame, Tensor, encode};
use inferbus_engine::{Model, Network as _, OnnxNetwork, Options, Runtime};
use ort::session::Session;
use ort::value::{Tensor as OrtTensor, TensorRef};

use crate::floors::bare_ort;
use crate::machine::clock::micros;
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::project::root;

const ROUNDS: usize = 101;

/// A model of the engine's tests, with the shape of its inputs.
struct Case {
    model: &'static str,
    inputs: &'static [&'static str],
    shape: [u64; 2],
    /// Runs of one round, for a few milliseconds.
    runs: usize,
}

pub fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = bare_ort::runtime()?;
    let product = |side, runs| Case { model: "matmul", inputs: &["a", "b"], shape: [side, side], runs };
    for (name, case) in [
        ("engine.tiny_extra_us", Case { model: "linear", inputs: &["x"], shape: [1, 4], runs: 400 }),
        ("engine.small_extra_us", product(SMALL, 200)),
    ] {
        let (ours, theirs) = case.measure(&runtime)?;
        let bare = Figure::of("", "", theirs.iter().copied()).value;
        let unit = format!("µs more than bare ort at {bare:.1}");
        figures.add(Figure::of(name, &unit, ours.iter().zip(&theirs).map(|(ours, theirs)| ours - theirs)));
    }
    let (ours, theirs) = product(LARGE, 4).measure(&runtime)?;
    let ratio = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
    figures.add(Figure::of("engine.vs_bare_ort", "× engine.bare_ort_us", ratio));
    figures.add(Figure::of("engine.bare_ort_us", "µs per run", theirs));
    Ok(())
}

/// About 5 µs and 1 ms on a current processor.
const SMALL: u64 = 56;
const LARGE: u64 = 368;

impl Case {
    /// Returns microseconds per run in each round, for the engine and for bare `ort`.
    fn measure(&self, runtime: &Runtime) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        let model = std::fs::read(root().join(format!("worker/engine/tests/models/{}.onnx", self.model)))?;
        let numbers: Vec<f32> = (0..self.shape.iter().product()).map(|index| (index % 7) as f32).collect();
        let payload = self.payload(&numbers)?;
        let mut engine = OnnxNetwork::load(runtime, &model, Options::default())?.session()?;
        let mut bare = bare_ort::session(runtime, &model)?;
        let shape = self.shape.map(|side| side as i64);
        let prepared = TensorRef::from_array_view((shape, numbers.as_slice()))?;
        compare(engine.as_mut(), &payload, &mut bare, self.inputs, &prepared)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(micros(self.runs, || run(engine.as_mut(), &payload, |output| _ = black_box(output.data.len())))?);
            theirs.push(micros(self.runs, || {
                let inputs: Vec<_> = self.inputs.iter().map(|&name| (name, &*prepared)).collect();
                drop(black_box(bare.run(inputs)?));
                Ok(())
            })?);
        }
        Ok((ours, theirs))
    }

    fn payload(&self, numbers: &[f32]) -> anyhow::Result<Vec<u8>> {
        let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        let tensor =
            |name| Tensor { name, dtype: DataType::F32, shape: self.shape.as_slice().into(), data: data.as_slice() };
        let tensors: Vec<Tensor<'_>> = self.inputs.iter().map(|&name| tensor(name)).collect();
        Ok(encode(&tensors)?)
    }
}

/// Like a lane: from the frame to the output in place.
fn run(engine: &mut dyn Model, payload: &[u8], mut with: impl FnMut(&Tensor<'_>)) -> anyhow::Result<()> {
    let inputs: Vec<Tensor<'_>> = Frame::decode(payload)?.tensors().collect();
    engine.run(&inputs, &mut |outputs| outputs.iter().for_each(&mut with))?;
    Ok(())
}

fn compare(
    engine: &mut dyn Model,
    payload: &[u8],
    bare: &mut Session,
    names: &[&str],
    input: &OrtTensor<f32>,
) -> anyhow::Result<()> {
    let mut ours = Vec::new();
    run(engine, payload, |output| ours.extend_from_slice(output.data))?;
    let inputs: Vec<_> = names.iter().map(|&name| (name, input)).collect();
    let outputs = bare.run(inputs)?;
    let output = outputs.values().next().context("a model without outputs")?;
    let (_, theirs) = output.try_extract_tensor::<f32>()?;
    let theirs: Vec<u8> = theirs.iter().flat_map(|number| number.to_le_bytes()).collect();
    ensure!(ours == theirs, "the outputs of the engine and of bare ort differ");
    Ok(())
}
