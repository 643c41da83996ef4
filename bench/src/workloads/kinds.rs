//! The workloads: payloads and expected results.
//!
//! Expected results are computed natively, with the functions of the plugins around bare ONNX Runtime.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use bench_kernels::odds::best;
use bytes::Bytes;
use inferbus_abi::frame::Frame;
use inferbus_bench::helpers::native;
use inferbus_engine::Runtime;
use ort::session::Session;
use ort::value::TensorRef;
use serde_json::Value;

use crate::floors::bare_ort;
use crate::project::root;
use crate::workloads::networks;
use crate::workloads::payloads;

/// The tolerance of odds: runs differ in the order of sums, and results have four digits.
const TOLERANCE: f32 = 3e-4;
/// The tolerance of their logarithms after another JPEG decoder. It rounds differently by one or two levels of 255, and
/// random weights amplify the difference.
const DECODED_TOLERANCE: f32 = 0.3;
/// The minimum of different labels. A constant answer would hide wrong ones.
const LABELS: usize = 4;
/// The subject and the output of the fan-out's route.
pub const FAN_OUT: (&str, &str) = ("fan", "fanned");
/// Results of one message of the fan-out.
pub const FANNED: usize = 8;
/// The plugin's labels of the words.
const WORDS: &[&str] = &bench_kernels::sound::WORDS;

/// A row of the table.
pub struct Kind {
    pub name: &'static str,
    /// The bundle's folder in the project.
    pub folder: &'static str,
    /// Requests in flight during the measurement.
    pub in_flight: usize,
    payloads: fn() -> anyhow::Result<Vec<Bytes>>,
    /// Generates the network, if it is not a file of the project.
    network: Option<fn() -> Vec<u8>>,
}

const fn digits(name: &'static str, folder: &'static str) -> Kind {
    Kind { name, folder, in_flight: 64, payloads: payloads::digits, network: None }
}

pub static KINDS: [Kind; 6] = [
    digits("tiny", "plugins/examples/digits/bundle-1.0.0"),
    Kind {
        name: "audio",
        folder: "bench/workloads/audio",
        in_flight: 16,
        payloads: payloads::sounds,
        network: Some(networks::words),
    },
    Kind {
        name: "image",
        folder: "bench/workloads/image",
        in_flight: 4,
        payloads: payloads::pictures,
        network: Some(networks::squeezenet),
    },
    Kind {
        name: "jpeg",
        folder: "bench/workloads/jpeg",
        in_flight: 4,
        payloads: payloads::jpegs,
        network: Some(networks::squeezenet),
    },
    digits("filter", "bench/workloads/filter"),
    digits("fan_out", "bench/workloads/fan_out"),
];

/// A workload with payloads and expected results.
pub struct Workload {
    pub kind: &'static Kind,
    pub payloads: Vec<Bytes>,
    expected: Vec<Expected>,
}

/// The expected results of one payload.
struct Expected {
    odds: Vec<f32>,
    /// The number of results, and of guesses in each.
    results: usize,
    guesses: usize,
}

/// The named workloads, or all except the first one. That one has separate figures.
pub fn named(names: &[String]) -> anyhow::Result<Vec<&'static Kind>> {
    match names {
        [] => Ok(KINDS.iter().skip(1).collect()),
        names => names.iter().map(|name| Kind::find(name)).collect(),
    }
}

impl Kind {
    pub fn find(name: &str) -> anyhow::Result<&'static Self> {
        let names = || KINDS.each_ref().map(|kind| kind.name).join(", ");
        KINDS
            .iter()
            .find(|kind| kind.name == name)
            .with_context(|| format!("the workload `{name}` does not exist; known workloads are {}", names()))
    }

    pub fn folder(&self) -> PathBuf {
        root().join(self.folder)
    }

    /// The folder of the network for the Python module.
    pub fn python_folder(&self) -> PathBuf {
        if self.name == "tiny" { root().join("plugins/examples/digits/model") } else { self.folder() }
    }

    pub fn fans_out(&self) -> bool {
        self.name == "fan_out"
    }

    /// Writes a generated network, unless it exists.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Some(network) = self.network else { return Ok(()) };
        let (file, network) = (self.folder().join("model.onnx"), network());
        if std::fs::read(&file).is_ok_and(|existing| existing == network) {
            return Ok(());
        }
        let partial = file.with_extension("partial");
        let written = std::fs::write(&partial, network).and_then(|()| std::fs::rename(&partial, &file));
        written.with_context(|| format!("{} cannot be written", file.display()))
    }

    /// The network on bare ONNX Runtime.
    pub fn session(&self, runtime: &Runtime) -> anyhow::Result<Session> {
        let file = self.folder().join("model.onnx");
        let model = std::fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        bare_ort::session(runtime, &model)
    }

    /// The number of results for these odds, and of guesses in each.
    fn shape(&self, odds: &[f32]) -> (usize, usize) {
        let best = odds.iter().copied().fold(0.0, f32::max);
        match self.name {
            "filter" if !bench_kernels::doubt::is_doubtful(best) => (0, 0),
            "fan_out" => (FANNED, 1),
            "image" | "jpeg" => (1, 5),
            _ => (1, 1),
        }
    }
}

impl Workload {
    /// Prepares the workload, and computes the expected results.
    pub fn load(kind: &'static Kind, runtime: &Runtime) -> anyhow::Result<Self> {
        kind.prepare()?;
        let payloads = (kind.payloads)()?;
        let (mut session, mut stages) = (kind.session(runtime)?, Stages::new(kind)?);
        let expected = payloads.iter().map(|payload| {
            let odds = as_odds(stages.infer(&mut session, payload)?);
            let (results, guesses) = kind.shape(&odds);
            Ok(Expected { odds, results, guesses })
        });
        let expected = expected.collect::<anyhow::Result<Vec<Expected>>>()?;
        let labels: BTreeSet<_> =
            expected.iter().filter_map(|one| best::<1>(&one.odds)).map(|[guess]| guess.label).collect();
        ensure!(labels.len() >= LABELS, "{}: only {} different answers, too few for a check", kind.name, labels.len());
        let sure = expected.iter().flat_map(|one| best::<1>(&one.odds)).map(|[guess]| guess.confidence);
        eprintln!(
            "{}: {} payloads, {} different answers, the least sure {:.3}, the surest {:.3}",
            kind.name,
            payloads.len(),
            labels.len(),
            sure.clone().fold(1.0, f32::min),
            sure.fold(0.0, f32::max)
        );
        Ok(Self { kind, payloads, expected })
    }

    /// The payload of a request.
    pub fn payload(&self, number: usize) -> Bytes {
        self.payloads[number % self.payloads.len()].clone()
    }

    /// The number of result messages beside the reply.
    pub fn extra(&self) -> usize {
        if self.kind.fans_out() { FANNED } else { 0 }
    }

    /// Checks the results of a request, in the documents of the post plugins. `others` are results of another decoder.
    pub fn check(&self, number: usize, results: &[impl AsRef<[u8]>], others: bool) -> anyhow::Result<()> {
        let expected = &self.expected[number % self.expected.len()];
        let wrong = || format!("{}: a wrong answer to payload {}", self.kind.name, number % self.expected.len());
        ensure!(results.len() == expected.results, "{}: {} results, not {}", wrong(), results.len(), expected.results);
        let mut guesses = Vec::new();
        for result in results {
            let one = guesses_of(result.as_ref()).with_context(wrong)?;
            ensure!(one.len() == expected.guesses, "{}: {} guesses, not {}", wrong(), one.len(), expected.guesses);
            guesses.extend(one);
        }
        let near = if others && self.kind.name == "jpeg" { decoded_alike } else { alike };
        check_guesses(&guesses, &expected.odds, near).with_context(wrong)
    }
}

fn alike(one: f32, other: f32) -> bool {
    (one - other).abs() <= TOLERANCE
}

fn decoded_alike(one: f32, other: f32) -> bool {
    alike(one, other) || (one / other).ln().abs() <= DECODED_TOLERANCE
}

/// Guesses are sorted by odds. Two classes with nearly equal odds may swap.
fn check_guesses(guesses: &[(usize, f32)], odds: &[f32], near: fn(f32, f32) -> bool) -> anyhow::Result<()> {
    let mut sorted = odds.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut seen = BTreeSet::new();
    for (&(label, confidence), best) in guesses.iter().zip(sorted) {
        let expected = *odds.get(label).with_context(|| format!("class {label} does not exist"))?;
        ensure!(seen.insert(label), "class {label} occurs twice");
        ensure!(near(confidence, expected), "class {label} has {confidence}, not {expected}");
        ensure!(near(confidence, best), "class {label} with {confidence} is not the next best, which has {best}");
    }
    Ok(())
}

fn guesses_of(result: &[u8]) -> anyhow::Result<Vec<(usize, f32)>> {
    let document: Value = serde_json::from_slice(result).context("not JSON")?;
    let guess = |value: &Value| {
        let label = match &value["label"] {
            Value::String(word) => WORDS.iter().position(|known| known == word),
            number => number.as_u64().map(|label| label as usize),
        };
        let confidence = value["confidence"].as_f64().context("a result without a confidence")?;
        Ok((label.context("a result without a label")?, confidence as f32))
    };
    match document["top"].as_array() {
        Some(all) => all.iter().map(guess).collect(),
        None => Ok(vec![guess(&document)?]),
    }
}

/// The odds of logits. Numbers with the sum 1 are odds already.
fn as_odds(numbers: Vec<f32>) -> Vec<f32> {
    if (numbers.iter().sum::<f32>() - 1.0).abs() < 1e-3 && numbers.iter().all(|number| *number >= 0.0) {
        return numbers;
    }
    let largest = numbers.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f32> = numbers.iter().map(|number| (number - largest).exp()).collect();
    let total: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// A workload's native pre and post.
pub struct Stages {
    pub pre: Box<dyn inferbus_pipeline::Transform>,
    pub post: Box<dyn inferbus_pipeline::Transform>,
}

impl Stages {
    pub fn new(kind: &Kind) -> anyhow::Result<Self> {
        let both = native::both(kind.name).with_context(|| format!("the native stages of {}", kind.name))?;
        Ok(Self { pre: both.step("pre"), post: both.step("post") })
    }

    /// The output of the network for a payload.
    pub fn infer(&mut self, session: &mut Session, payload: &[u8]) -> anyhow::Result<Vec<f32>> {
        let (name, shape, numbers) = self.input(payload)?;
        let input = TensorRef::from_array_view((shape, numbers.as_slice()))?;
        let outputs = session.run(vec![(name.as_str(), &*input)])?;
        Ok(outputs[0].try_extract_tensor::<f32>()?.1.to_vec())
    }

    /// The network's input: name, shape and numbers.
    pub fn input(&mut self, payload: &[u8]) -> anyhow::Result<(String, Vec<i64>, Vec<f32>)> {
        let reply = self.pre.call(payload.len(), &mut |room| room.copy_from_slice(payload), &mut |_| {})?;
        let frame = Frame::decode(reply.output.context("an output of pre")?)?;
        let tensor = frame.tensors().next().context("a tensor of pre")?;
        let numbers = tensor.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((tensor.name.to_owned(), tensor.shape.iter().map(|size| size as i64).collect(), numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use inferbus_sandbox::{Bounds, Ceilings, Grants, Plugin, Sandbox};

    const ODDS: [f32; 4] = [0.1, 0.6, 0.0, 0.3];

    #[test]
    fn guesses_must_be_sorted_and_expected() {
        let check = |guesses: &[(usize, f32)]| check_guesses(guesses, &ODDS, alike).map_err(|fault| fault.to_string());
        check(&[(1, 0.6001), (3, 0.3)]).unwrap();
        assert_eq!(check(&[(1, 0.61)]).unwrap_err(), "class 1 has 0.61, not 0.6");
        assert_eq!(check(&[(3, 0.3)]).unwrap_err(), "class 3 with 0.3 is not the next best, which has 0.6");
        assert_eq!(check(&[(1, 0.6), (1, 0.6)]).unwrap_err(), "class 1 occurs twice");
        assert_eq!(check(&[(4, 0.6)]).unwrap_err(), "class 4 does not exist");
    }

    #[test]
    fn documents_of_the_plugins_are_parsed() {
        assert_eq!(guesses_of(br#"{"label":"up","confidence":0.5}"#).unwrap(), [(2, 0.5)]);
        let five = br#"{"top":[{"label":9,"confidence":0.5},{"label":3,"confidence":0.25}]}"#;
        assert_eq!(guesses_of(five).unwrap(), [(9, 0.5), (3, 0.25)]);
        assert!(guesses_of(br#"{"label":"upside","confidence":0.5}"#).is_err());
    }

    #[test]
    fn payloads_are_many_and_different() {
        for kind in &KINDS {
            let payloads = (kind.payloads)().unwrap();
            let different: BTreeSet<_> = payloads.iter().collect();
            assert!(different.len() >= 16, "{}: {} different payloads", kind.name, different.len());
        }
    }

    /// A frame of random logits.
    fn logits(count: u64) -> Vec<u8> {
        let data: Vec<u8> =
            crate::workloads::models::numbers(5).take(count as usize).flat_map(f32::to_le_bytes).collect();
        let shape = [1, count];
        let logits = inferbus_abi::frame::Tensor {
            name: "y",
            dtype: inferbus_abi::frame::DataType::F32,
            shape: (&shape).into(),
            data: &data,
        };
        inferbus_abi::frame::encode(&[logits]).unwrap()
    }

    #[test]
    fn plugins_and_native_stages_are_equal_bit_by_bit() {
        let sandbox = Sandbox::new(Ceilings::default()).unwrap();
        for kind in &KINDS {
            let mut native = Stages::new(kind).unwrap();
            let classes = match kind.name {
                "image" | "jpeg" => 1000,
                "audio" => 12,
                _ => 10,
            };
            let inputs = [("pre", (kind.payloads)().unwrap()), ("post", vec![logits(classes).into()])];
            for (stage, inputs) in inputs {
                let wasm = std::fs::read(kind.folder().join(format!("{stage}.wasm"))).unwrap();
                let grants = Grants { log: true, emit: true };
                let plugin = Plugin::load(&sandbox, &wasm, grants, Bounds::default(), b"").unwrap();
                let mut lane = plugin.instance();
                let native = if stage == "pre" { &mut native.pre } else { &mut native.post };
                for input in inputs.iter().take(16) {
                    let fill = &mut |room: &mut [u8]| room.copy_from_slice(input);
                    let theirs = native.call(input.len(), fill, &mut |_| {}).unwrap();
                    let ours = lane.call(input.len(), fill, &mut |_| {}).unwrap();
                    assert!(ours.output == theirs.output, "{} {stage}", kind.name);
                    let emits = |reply: &inferbus_sandbox::Reply<'_>| {
                        reply.emits.iter().map(|emit| (emit.topic.clone(), emit.payload.clone())).collect::<Vec<_>>()
                    };
                    assert_eq!(emits(&ours), emits(&theirs), "{} {stage}", kind.name);
                }
            }
        }
    }
}
