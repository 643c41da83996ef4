//! Networks of dense layers as ONNX files, and their push into a catalog.

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use inferbus_abi::frame::{DataType, Frame, Tensor, encode};
use inferbus_catalog::{Activate, Bundle, Catalog, PushOptions};
use inferbus_loadgen::random::Random;
use inferbus_testkit::onnx::{F32, Graph, Size, floats, node, port};

pub const INPUT: &str = "x";
/// The models of 100 MB: 24 layers of four megabytes.
pub const LARGE_WIDTH: usize = 1024;
pub const LARGE: [usize; 25] = [LARGE_WIDTH; 25];
/// The seed of their input.
pub const LARGE_SEED: u64 = 3;
/// The tolerance of two runs: the order of a sum depends on the number of rows.
const TOLERANCE: f32 = 1e-4;

/// Numbers between -1 and 1, by seed.
pub fn numbers(seed: u64) -> impl Iterator<Item = f32> {
    let mut random = Random::new(seed);
    std::iter::repeat_with(move || (random.next_u64() >> 40) as f32 / (1 << 23) as f32 - 1.0)
}

/// `x` of `[batch, first width]` through one dense layer to each further width, with random weights.
pub fn mlp(widths: &[usize], seed: u64) -> Vec<u8> {
    let mut graph = Graph::default();
    let open = |width: usize| [Size::Open("batch"), Size::Fixed(width as i64)];
    let mut random = numbers(seed);
    let mut last = INPUT.to_owned();
    for (layer, pair) in widths.windows(2).enumerate() {
        let &[from, to] = pair else { continue };
        let [weights, bias, product, sum, next] = ["w", "b", "p", "s", "h"].map(|name| format!("{name}{layer}"));
        // Keeps the magnitude of numbers through any number of layers.
        let scale = (6.0 / from as f32).sqrt();
        let mut values = |count: usize, scale: f32| -> Vec<f32> {
            random.by_ref().take(count).map(|number| number * scale).collect()
        };
        graph.constants.push(floats(&weights, &[from as i64, to as i64], &values(from * to, scale)));
        graph.constants.push(floats(&bias, &[to as i64], &values(to, 0.1)));
        graph.nodes.push(node("MatMul", &[&last, &weights], &[&product], &[]));
        graph.nodes.push(node("Add", &[&product, &bias], &[&sum], &[]));
        let is_last = layer + 2 == widths.len();
        if !is_last {
            graph.nodes.push(node("Relu", &[&sum], &[&next], &[]));
        }
        last = if is_last { sum } else { next };
    }
    if let [first, .., end] = widths {
        graph.inputs.push(port(INPUT, F32, &open(*first)));
        graph.outputs.push(port(&last, F32, &open(*end)));
    }
    graph.model()
}

/// Pushes and activates a model without plugins. `engine` is the TOML of the bundle's table.
pub async fn push(catalog: &Catalog, model: &str, network: &[u8], engine: &str) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
    file("model.onnx", network)?;
    let manifest = format!("model = \"{model}\"\nversion = \"1.0.0\"\nnetwork = \"model.onnx\"\n[engine]\n{engine}\n");
    file("bundle.toml", manifest.as_bytes())?;
    let bundle = Bundle::read(folder.path())?;
    catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await?;
    catalog.activate(&bundle.name, &bundle.version, Activate::default()).await?;
    Ok(())
}

/// The frame of one row.
pub fn payload(row: &[f32]) -> anyhow::Result<Bytes> {
    let data: Vec<u8> = row.iter().flat_map(|number| number.to_le_bytes()).collect();
    let shape = [1, row.len() as u64];
    let tensor = Tensor { name: INPUT, dtype: DataType::F32, shape: shape.as_slice().into(), data: &data };
    Ok(encode(&[tensor])?.into())
}

/// The numbers of a result's only tensor.
pub fn row(result: &[u8]) -> anyhow::Result<Vec<f32>> {
    let frame = Frame::decode(result)?;
    let tensor = frame.tensors().next().context("a result without a tensor")?;
    Ok(tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

pub fn is_alike(one: &[f32], other: &[f32]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| (one - other).abs() <= TOLERANCE)
}

pub fn check(result: &[u8], expected: &[f32], subject: &str) -> anyhow::Result<()> {
    let got = row(result)?;
    let (first, other) = (got.first(), expected.first());
    ensure!(is_alike(&got, expected), "{subject} returned {first:?}, …, and bare ONNX Runtime {other:?}, …");
    Ok(())
}
