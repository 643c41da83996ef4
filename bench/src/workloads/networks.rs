//! The workloads' networks as ONNX files: a small one for words, and SqueezeNet 1.1 for pictures.
//!
//! Weights are random by seed. The weights of a filter add up to about zero: a common part of all inputs would
//! otherwise dominate, with equal answers to all payloads.

use inferbus_testkit::onnx::{F32, Graph, Size, floats, int, ints, node, port};

use crate::workloads::models::numbers;

/// The factor of the last layer's weights, for different odds of the classes.
const WORDS_SPREAD: f32 = 6.0;
const PICTURES_SPREAD: f32 = 75.0;
/// The subtracted share of a filter's mean before the last layer. With 1, a deep network would only see noise.
const PICTURES_CENTRED: f32 = 0.7;

/// A graph that grows at its end.
struct Builder<R> {
    graph: Graph,
    random: R,
    count: usize,
    /// The subtracted share of a filter's mean.
    centred: f32,
}

/// A value of the graph and its channels.
#[derive(Clone)]
struct End {
    name: String,
    channels: usize,
}

struct Conv {
    channels: usize,
    side: i64,
    stride: i64,
    pad: i64,
    scale: f32,
}

impl Conv {
    fn plain(channels: usize, side: i64) -> Self {
        Self { channels, side, stride: 1, pad: side / 2, scale: 1.0 }
    }
}

/// `features` of `[batch, 1, 98, 40]` to `logits` of twelve words.
pub fn words() -> Vec<u8> {
    let mut net = Builder::new(11);
    let mut end = net.input("features", [1, 98, 40]);
    for channels in [16, 32, 64] {
        end = net.conv(&end, &Conv { stride: 2, ..Conv::plain(channels, 3) });
    }
    let end = net.conv(&end, &Conv { scale: WORDS_SPREAD, ..Conv::plain(12, 1) });
    let mean = net.add("GlobalAveragePool", &end, end.channels, &[]);
    net.output("Flatten", &mean, "logits")
}

/// `image` of `[batch, 3, 224, 224]` to `odds` of a thousand classes.
pub fn squeezenet() -> Vec<u8> {
    let mut net = Builder { centred: PICTURES_CENTRED, ..Builder::new(12) };
    let mut end = net.input("image", [3, 224, 224]);
    end = net.conv(&end, &Conv { stride: 2, pad: 0, ..Conv::plain(64, 3) });
    for (squeezed, expanded, pool) in [
        (16, 64, true),
        (16, 64, false),
        (32, 128, true),
        (32, 128, false),
        (48, 192, true),
        (48, 192, false),
        (64, 256, false),
        (64, 256, false),
    ] {
        if pool {
            let attributes = [ints("kernel_shape", &[3, 3]), ints("strides", &[2, 2])];
            end = net.add("MaxPool", &end, end.channels, &attributes);
        }
        end = net.fire(&end, squeezed, expanded);
    }
    net.centred = 1.0;
    let end = net.conv(&end, &Conv { scale: PICTURES_SPREAD, ..Conv::plain(1000, 1) });
    let mean = net.add("GlobalAveragePool", &end, end.channels, &[]);
    let flat = net.add("Flatten", &mean, mean.channels, &[]);
    net.output("Softmax", &flat, "odds")
}

impl<R: Iterator<Item = f32>> Builder<R> {
    fn input(&mut self, name: &str, [channels, height, width]: [usize; 3]) -> End {
        let fixed = |size: usize| Size::Fixed(size as i64);
        let shape = [Size::Open("batch"), fixed(channels), fixed(height), fixed(width)];
        self.graph.inputs.push(port(name, F32, &shape));
        End { name: name.to_owned(), channels }
    }

    fn add(&mut self, op: &str, end: &End, channels: usize, attributes: &[Vec<u8>]) -> End {
        self.join(op, &[&end.name], channels, attributes)
    }

    fn join(&mut self, op: &str, inputs: &[&str], channels: usize, attributes: &[Vec<u8>]) -> End {
        self.count += 1;
        let name = format!("v{}", self.count);
        self.graph.nodes.push(node(op, inputs, &[&name], attributes));
        End { name, channels }
    }

    fn conv(&mut self, end: &End, conv: &Conv) -> End {
        let (weights, bias) = (format!("w{}", self.count), format!("b{}", self.count));
        let Conv { channels, side, stride, pad, scale } = *conv;
        let len = end.channels * (side * side) as usize;
        let values: Vec<f32> = (0..channels).flat_map(|_| self.filter(len, scale)).collect();
        self.graph.constants.push(floats(&weights, &[channels as i64, end.channels as i64, side, side], &values));
        self.graph.constants.push(floats(&bias, &[channels as i64], &vec![0.0; channels]));
        let attributes = [ints("kernel_shape", &[side; 2]), ints("strides", &[stride; 2]), ints("pads", &[pad; 4])];
        let sums = self.join("Conv", &[&end.name, &weights, &bias], channels, &attributes);
        self.add("Relu", &sums, channels, &[])
    }

    /// Weights that preserve the magnitude of numbers and add up to zero.
    fn filter(&mut self, len: usize, scale: f32) -> Vec<f32> {
        let scale = scale * (6.0 / len as f32).sqrt();
        let drawn: Vec<f32> = self.random.by_ref().take(len).collect();
        let mean = drawn.iter().sum::<f32>() / len as f32;
        drawn.into_iter().map(|number| (number - mean * self.centred) * scale).collect()
    }

    fn fire(&mut self, end: &End, squeezed: usize, expanded: usize) -> End {
        let squeezed = self.conv(end, &Conv::plain(squeezed, 1));
        let [small, large] = [1, 3].map(|side| self.conv(&squeezed, &Conv::plain(expanded, side)));
        self.join("Concat", &[&small.name, &large.name], 2 * expanded, &[int("axis", 1)])
    }

    fn output(mut self, op: &str, end: &End, name: &str) -> Vec<u8> {
        self.graph.nodes.push(node(op, &[&end.name], &[name], &[]));
        self.graph.outputs.push(port(name, F32, &[Size::Open("batch"), Size::Fixed(end.channels as i64)]));
        self.graph.model()
    }
}

impl Builder<()> {
    fn new(seed: u64) -> Builder<impl Iterator<Item = f32>> {
        Builder { graph: Graph::default(), random: numbers(seed), count: 0, centred: 1.0 }
    }
}
