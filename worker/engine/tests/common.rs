//! Shared by the tests: the real library, the models beside this file, and owned outputs.
#![allow(dead_code, reason = "each test executable uses a part")]

use std::path::{Path, PathBuf};

use inferbus_abi::frame::{DataType, Tensor};
use inferbus_engine::{EngineFault, ModelFault, Network, OnnxNetwork, Options, Runtime, load_runtime};

/// The library under test: the one in `ORT_DYLIB_PATH`, as the Makefile sets it.
pub(crate) fn library() -> Option<PathBuf> {
    std::env::var_os("ORT_DYLIB_PATH").map(PathBuf::from)
}

pub(crate) fn runtime() -> Runtime {
    load_runtime(library().as_deref()).unwrap_or_else(|why| panic!("these tests need ONNX Runtime: {why}"))
}

pub(crate) fn bytes(name: &str) -> Vec<u8> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name).with_extension("onnx");
    std::fs::read(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

pub(crate) fn load(name: &str) -> Result<OnnxNetwork, EngineFault> {
    OnnxNetwork::load(&runtime(), bytes(name), Options::default())
}

pub(crate) fn network(name: &str) -> OnnxNetwork {
    load(name).unwrap_or_else(|why| panic!("{name}: {why}"))
}

/// An output, copied out of a run.
#[derive(Debug, PartialEq)]
pub(crate) struct Owned {
    pub(crate) name: String,
    pub(crate) dtype: DataType,
    pub(crate) shape: Vec<u64>,
    pub(crate) data: Vec<u8>,
}

impl From<&Tensor<'_>> for Owned {
    fn from(tensor: &Tensor<'_>) -> Self {
        Self {
            name: tensor.name.into(),
            dtype: tensor.dtype,
            shape: tensor.shape.iter().collect(),
            data: tensor.data.into(),
        }
    }
}

/// Runs a fresh session of the network once.
pub(crate) fn run(network: &dyn Network, inputs: &[Tensor<'_>]) -> Result<Vec<Owned>, ModelFault> {
    let mut taken = Vec::new();
    let mut session = network.session().unwrap_or_else(|why| panic!("no session: {why}"));
    let ran = session.run(inputs, &mut |outputs| taken.push(outputs.iter().map(Owned::from).collect::<Vec<_>>()));
    assert_eq!(taken.len(), usize::from(ran.is_ok()), "outputs are lent once, and only if all went well");
    ran.map(|()| taken.remove(0))
}

pub(crate) fn tensor<'a>(name: &'a str, dtype: DataType, shape: &'a [u64], data: &'a [u8]) -> Tensor<'a> {
    Tensor { name, dtype, shape: shape.into(), data }
}

pub(crate) fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn integers(values: &[i64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
