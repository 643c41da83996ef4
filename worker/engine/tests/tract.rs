//! The backend tests of the package `onnx` on tract, in this process: how many cases it passes, and that it survives all.
#![cfg(feature = "tract")]

use std::path::{Path, PathBuf};

use inferbus_abi::frame::{Frame, Tensor};
use inferbus_engine::{Backend, Network, Options};
use tolerance::Tolerance;

#[path = "../../../tests/src/tolerance.rs"]
mod tolerance;

/// As onnx's own runner grants most cases.
const TOLERANCE: Tolerance = Tolerance { relative: 1e-3, absolute: 1e-7 };
/// Fewer than this, and something was lost.
const LEAST: usize = 1031;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/conformance")
}

fn models() -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder()).expect("the models of this test: run `make setup-tests`, which makes them");
    let files = files.map(|file| file.expect("a file").path());
    let mut models: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "onnx")).collect();
    models.sort();
    models
}

fn run(network: &dyn Network, given: &[u8], expected: &[u8]) -> Result<(), String> {
    let (given, expected) = (Frame::decode(given).expect("a frame"), Frame::decode(expected).expect("a frame"));
    let inputs: Vec<Tensor<'_>> = given.tensors().collect();
    let mut session = network.session().map_err(|fault| fault.to_string())?;
    let mut wrong = Some("nothing was given".to_owned());
    let ran = session.run(&inputs, &mut |outputs| {
        let mut pairs = outputs.iter().zip(expected.tensors());
        wrong = (outputs.len() != expected.len()).then(|| "not as many outputs".into());
        wrong = wrong.take().or_else(|| pairs.find_map(|(got, expected)| TOLERANCE.difference(got, &expected)));
    });
    ran.map_err(|fault| fault.to_string())?;
    wrong.map_or(Ok(()), Err)
}

fn case(model: &Path) -> Result<(), String> {
    let backend = Backend::tract().map_err(|fault| fault.to_string())?;
    let bytes = std::fs::read(model).expect("a model");
    let network = backend.load(&bytes, Options::default(), "").map_err(|fault| fault.to_string())?;
    let file = |set: usize, end: &str| std::fs::read(model.with_extension(format!("{set}.{end}"))).ok();
    (0..)
        .map_while(|set| Some((file(set, "in")?, file(set, "out")?)))
        .try_for_each(|(given, expected)| run(&*network, &given, &expected))
}

#[test]
fn tract_passes_most_of_the_common_operators() {
    let models = models();
    let faults: Vec<String> = models
        .iter()
        .filter_map(|model| Some(format!("{}: {}", model.file_stem()?.display(), case(model).err()?)))
        .collect();
    let passed = models.len() - faults.len();
    println!("tract: {passed} of {} cases pass", models.len());
    assert!(passed >= LEAST, "{passed} cases pass, fewer than {LEAST}:\n{}", faults.join("\n"));
}
