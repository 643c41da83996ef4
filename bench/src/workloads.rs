//! The workloads: what is asked of each, and what must come back.
//!
//! What is expected comes from the plugins' own functions, called natively, around bare ONNX Runtime.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use bench_kernels::odds::best;
use bytes::Bytes;
use inferbus::job::Stage;
use inferbus_abi::frame::Frame;
use inferbus_bench::native;
use inferbus_engine::Runtime;
use ort::session::Session;
use ort::value::TensorRef;
use serde_json::Value;

use crate::bare;
use crate::networks;
use crate::payloads;
use crate::root;

/// By how much odds may differ: runs of a model differ in the order of sums, and results have four digits.
const TOLERANCE: f32 = 3e-4;
/// By how much their logarithms may differ where another decoder has read the JPEG. It rounds otherwise, by a level or two of 255,
/// and a network with drawn weights makes much of that.
const DECODED_TOLERANCE: f32 = 0.3;
/// A model that says the same of everything would hide wrong answers.
const LABELS: usize = 4;
/// Results of one message of the fan-out.
pub const FANNED: usize = 8;
/// Of the words' labels, which are the plugin's.
const WORDS: &[&str] = &bench_kernels::sound::WORDS;

/// A line of the table.
pub struct Kind {
    pub name: &'static str,
    /// The bundle, in the project.
    pub folder: &'static str,
    /// Requests in flight while it is measured.
    pub in_flight: usize,
    payloads: fn() -> anyhow::Result<Vec<Bytes>>,
    /// What writes the network, where none is kept.
    network: Option<fn() -> Vec<u8>>,
}

const fn digits(name: &'static str, folder: &'static str) -> Kind {
    Kind { name, folder, in_flight: 64, payloads: payloads::digits, network: None }
}

pub static KINDS: [Kind; 6] = [
    digits("tiny", "plugins/digits/bundle-1.0.0"),
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

/// A workload with all that is asked and expected.
pub struct Workload {
    pub kind: &'static Kind,
    pub payloads: Vec<Bytes>,
    expected: Vec<Expected>,
}

/// Of one payload.
struct Expected {
    odds: Vec<f32>,
    /// How many results there are, and how many guesses in each.
    results: usize,
    guesses: usize,
}

/// Those that are named, or all but the first, which has figures of its own.
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
            .with_context(|| format!("no workload `{name}`: there are {}", names()))
    }

    pub fn folder(&self) -> PathBuf {
        root().join(self.folder)
    }

    /// Where the module in Python finds the network.
    pub fn python_folder(&self) -> PathBuf {
        if self.name == "tiny" { root().join("plugins/digits/model") } else { self.folder() }
    }

    pub fn fans_out(&self) -> bool {
        self.name == "fan_out"
    }

    /// Writes the network where none is kept, unless it is there.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let Some(network) = self.network else { return Ok(()) };
        let (file, network) = (self.folder().join("model.onnx"), network());
        if std::fs::read(&file).is_ok_and(|there| there == network) {
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
        bare::session(runtime, &model)
    }

    /// How many results a message with these odds has, and how many guesses are in each.
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
    /// Prepares it, too, and computes what is expected.
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
        ensure!(
            labels.len() >= LABELS,
            "{}: only {} different answers: nothing would be checked",
            kind.name,
            labels.len()
        );
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

    /// How many messages a request has as results, but for its reply.
    pub fn extra(&self) -> usize {
        if self.kind.fans_out() { FANNED } else { 0 }
    }

    /// Whether these are the results of that request: documents as the post plugins write them, by these plugins' functions or by `others`.
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

/// The likeliest come first, each with the odds that are expected of it. Where two are near each other, either may be first.
fn check_guesses(guesses: &[(usize, f32)], odds: &[f32], near: fn(f32, f32) -> bool) -> anyhow::Result<()> {
    let mut sorted = odds.to_vec();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let mut seen = BTreeSet::new();
    for (&(label, confidence), best) in guesses.iter().zip(sorted) {
        let expected = *odds.get(label).with_context(|| format!("there is no class {label}"))?;
        ensure!(seen.insert(label), "class {label} comes twice");
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

/// The odds of logits; what adds up to one is odds already.
fn as_odds(numbers: Vec<f32>) -> Vec<f32> {
    if (numbers.iter().sum::<f32>() - 1.0).abs() < 1e-3 && numbers.iter().all(|number| *number >= 0.0) {
        return numbers;
    }
    let largest = numbers.iter().copied().fold(f32::MIN, f32::max);
    let weights: Vec<f32> = numbers.iter().map(|number| (number - largest).exp()).collect();
    let total: f32 = weights.iter().sum();
    weights.into_iter().map(|weight| weight / total).collect()
}

/// A workload's pre and post, called natively in this process.
pub struct Stages {
    pub pre: Box<dyn inferbus::job::Transform>,
    pub post: Box<dyn inferbus::job::Transform>,
}

impl Stages {
    pub fn new(kind: &Kind) -> anyhow::Result<Self> {
        let both = native::both(kind.name).with_context(|| format!("{} has no native stages", kind.name))?;
        Ok(Self { pre: both.stage(Stage::Pre), post: both.stage(Stage::Post) })
    }

    /// What the network says of a payload.
    pub fn infer(&mut self, session: &mut Session, payload: &[u8]) -> anyhow::Result<Vec<f32>> {
        let (name, shape, numbers) = self.input(payload)?;
        let input = TensorRef::from_array_view((shape, numbers.as_slice()))?;
        let outputs = session.run(vec![(name.as_str(), &*input)])?;
        Ok(outputs[0].try_extract_tensor::<f32>()?.1.to_vec())
    }

    /// The network's input: its name, its shape and its numbers.
    pub fn input(&mut self, payload: &[u8]) -> anyhow::Result<(String, Vec<i64>, Vec<f32>)> {
        let reply = self.pre.call(payload.len(), &mut |room| room.copy_from_slice(payload), &mut |_| {})?;
        let frame = Frame::decode(reply.output.context("pre gave nothing")?)?;
        let tensor = frame.tensors().next().context("pre gave no tensor")?;
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
    fn guesses_must_be_the_next_best_each() {
        let check = |guesses: &[(usize, f32)]| check_guesses(guesses, &ODDS, alike).map_err(|fault| fault.to_string());
        check(&[(1, 0.6001), (3, 0.3)]).unwrap();
        assert_eq!(check(&[(1, 0.61)]).unwrap_err(), "class 1 has 0.61, not 0.6");
        assert_eq!(check(&[(3, 0.3)]).unwrap_err(), "class 3 with 0.3 is not the next best, which has 0.6");
        assert_eq!(check(&[(1, 0.6), (1, 0.6)]).unwrap_err(), "class 1 comes twice");
        assert_eq!(check(&[(4, 0.6)]).unwrap_err(), "there is no class 4");
    }

    #[test]
    fn documents_are_read_as_the_plugins_write_them() {
        assert_eq!(guesses_of(br#"{"label":"up","confidence":0.5}"#).unwrap(), [(2, 0.5)]);
        let five = br#"{"top":[{"label":9,"confidence":0.5},{"label":3,"confidence":0.25}]}"#;
        assert_eq!(guesses_of(five).unwrap(), [(9, 0.5), (3, 0.25)]);
        assert!(guesses_of(br#"{"label":"upside","confidence":0.5}"#).is_err());
    }

    #[test]
    fn payloads_are_many_and_not_alike() {
        for kind in &KINDS {
            let payloads = (kind.payloads)().unwrap();
            let different: BTreeSet<_> = payloads.iter().collect();
            assert!(different.len() >= 16, "{}: {} different payloads", kind.name, different.len());
        }
    }

    /// The frame of logits that stand for what a network might say.
    fn logits(count: u64) -> Vec<u8> {
        let data: Vec<u8> = crate::models::numbers(5).take(count as usize).flat_map(f32::to_le_bytes).collect();
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
    fn a_plugin_gives_what_its_native_stage_gives_bit_for_bit() {
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
