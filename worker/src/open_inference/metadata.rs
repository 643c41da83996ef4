//! The protocol's metadata of workers and models.

use inferbus_engine::{Dim, Port, Signature};
use inferbus_open_inference::name;
use serde::Serialize;

use inferbus_pipeline::Identity;

use crate::models::bundle::Bundle;
use crate::models::registry::{ModelState, ModelStatus};

#[derive(Serialize)]
pub struct Server {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 2],
}

pub const SERVER: Server = Server {
    name: "inferbus",
    version: env!("CARGO_PKG_VERSION"),
    extensions: ["binary_tensor_data", "model_repository"],
};

#[derive(Serialize)]
pub struct Live {
    pub live: bool,
}

#[derive(Serialize)]
pub struct Ready {
    pub ready: bool,
}

#[derive(Serialize)]
pub struct ModelReady<'a> {
    pub name: &'a str,
    pub ready: bool,
}

#[derive(Serialize)]
pub struct Model<'a> {
    name: &'a str,
    versions: [String; 1],
    platform: &'static str,
    inputs: Vec<Tensor<'a>>,
    outputs: Vec<Tensor<'a>>,
    parameters: Parameters,
}

#[derive(Serialize)]
struct Tensor<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<i64>,
}

/// Metadata beyond the protocol. With a plugin, the payload or the result differs from these tensors.
#[derive(Serialize)]
struct Parameters {
    digest: String,
    pre: bool,
    post: bool,
}

impl<'a> Model<'a> {
    pub fn of(bundle: &'a Bundle) -> Self {
        let (Identity { model, version, digest }, Signature { inputs, outputs }) =
            (&bundle.identity, &bundle.signature);
        Self {
            name: model.as_str(),
            versions: [version.to_string()],
            platform: "inferbus_onnx",
            inputs: inputs.iter().map(Tensor::of).collect(),
            outputs: outputs.iter().map(Tensor::of).collect(),
            parameters: Parameters {
                digest: digest.to_string(),
                pre: !bundle.takes_tensors(),
                post: !bundle.gives_tensors(),
            },
        }
    }
}

impl<'a> Tensor<'a> {
    fn of(port: &'a Port) -> Self {
        let dimension = |dim: &Dim| match dim {
            Dim::Fixed(size) => i64::try_from(*size).unwrap_or(i64::MAX),
            Dim::Symbolic(_) => -1,
        };
        Self {
            name: &port.name,
            datatype: name(port.dtype).unwrap_or(port.dtype.name()),
            shape: port.shape.iter().map(dimension).collect(),
        }
    }
}

/// One entry of the model repository's index.
#[derive(Serialize)]
pub struct Listed {
    name: String,
    version: String,
    state: &'static str,
    reason: String,
}

impl From<ModelStatus> for Listed {
    fn from(status: ModelStatus) -> Self {
        let ModelStatus { model: name, version, wanted, state, error, .. } = status;
        let ready = version.is_some();
        let reason = error.or_else(|| (state == ModelState::Loading).then(|| "it is loading".to_owned()));
        Self {
            name,
            version: version.or(wanted).unwrap_or_default(),
            state: if ready { "READY" } else { "UNAVAILABLE" },
            reason: reason.unwrap_or_default(),
        }
    }
}
