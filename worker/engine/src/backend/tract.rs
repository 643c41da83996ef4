//! Networks and sessions on tract, for machines without ONNX Runtime: it is pure Rust, without a library.
//!
//! It plans a model separately for each shape of its inputs and keeps the latest plans. A run cannot be stopped.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use inferbus_abi::frame::{DataType, Shape, Tensor};
use tract_onnx::pb::{self, tensor_shape_proto::dimension, type_proto};
use tract_onnx::prelude::{
    DatumType, Framework as _, InferenceFact, InferenceModel, InferenceModelExt as _, IntoRunnable as _, TValue, TVec,
    Tensor as Value, TractResult, TypedRunnableModel,
};

use super::convert::byte_len;
use crate::fault::one_line;
use crate::limits::{MAX_PORTS, PLANS};
use crate::model_file::examine;
use crate::signature::Few;
use crate::{Dim, EngineFault, Model, ModelFault, Network, Options, Port, Signature};

/// One ONNX model on tract.
pub struct TractNetwork(Arc<Shared>);

/// The shared part of a model's sessions.
struct Shared {
    signature: Signature,
    model: InferenceModel,
    plans: Mutex<Plans>,
}

type Dims = Few<Few<usize>>;
type Plan = Arc<TypedRunnableModel>;

/// Plans with their input shapes, the most recently used one last.
#[derive(Default)]
struct Plans(Vec<(Dims, Plan)>);

impl TractNetwork {
    /// Checks the model, and plans it if its shapes are fixed.
    pub fn load(bytes: &[u8], options: Options) -> Result<Self, EngineFault> {
        examine(bytes, &options)?;
        if !options.provider.is_cpu() {
            return Err(EngineFault::NoProvider {
                asked: options.provider.name(),
                has: "tract, on the processor".into(),
            });
        }
        let (signature, model) = guarded(|| read(bytes)).map_err(EngineFault::TractRefused)??;
        let shared = Shared { signature, model, plans: Mutex::default() };
        if let Some(dims) = fixed(&shared.signature) {
            shared.plan(dims).map_err(EngineFault::TractRefused)?;
        }
        Ok(Self(Arc::new(shared)))
    }
}

impl Network for TractNetwork {
    fn signature(&self) -> &Signature {
        &self.0.signature
    }

    fn session(&self) -> Result<Box<dyn Model>, EngineFault> {
        Ok(Box::new(TractModel(Arc::clone(&self.0))))
    }
}

/// Runs tract and returns its error or panic as text. It panics on some models and inputs.
fn guarded<T>(work: impl FnOnce() -> TractResult<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(done) => done.map_err(|why| one_line(&format!("{why:#}"))),
        Err(_) => Err("it panicked; see the log for the location".into()),
    }
}

fn read(bytes: &[u8]) -> TractResult<Result<(Signature, InferenceModel), EngineFault>> {
    // Models often declare wrong output shapes, and they are not needed.
    let onnx = tract_onnx::onnx().with_ignore_output_shapes(true);
    let proto = onnx.proto_model_for_read(&mut &*bytes)?;
    let signature = match proto.graph.as_ref().map(signature).transpose() {
        Ok(signature) => signature.unwrap_or(Signature { inputs: Vec::new(), outputs: Vec::new() }),
        Err(fault) => return Ok(Err(fault)),
    };
    let model = onnx.model_for_proto_model(&proto)?;
    // tract keeps unknown operators until it runs them.
    let unknown = model.nodes().iter().map(|node| node.op.name()).find(|name| name.starts_with(UNKNOWN));
    Ok(match unknown {
        Some(name) => Err(EngineFault::TractRefused(one_line(&format!("{name} is not implemented")))),
        None => Ok((signature, model)),
    })
}

const UNKNOWN: &str = "Unimplemented";

fn signature(graph: &pb::GraphProto) -> Result<Signature, EngineFault> {
    let constant = |name: &str| graph.initializer.iter().any(|one| one.name == name);
    let inputs: Vec<_> = graph.input.iter().filter(|port| !constant(&port.name)).collect();
    let ports = inputs.len().max(graph.output.len());
    if ports > MAX_PORTS {
        return Err(EngineFault::TooManyPorts { ports });
    }
    let inputs = inputs.into_iter().map(port).collect::<Result<_, _>>()?;
    Ok(Signature { inputs, outputs: graph.output.iter().map(port).collect::<Result<_, _>>()? })
}

fn port(info: &pb::ValueInfoProto) -> Result<Port, EngineFault> {
    let kind = info.r#type.as_ref().and_then(|kind| kind.value.as_ref());
    let Some(type_proto::Value::TensorType(tensor)) = kind else {
        return Err(EngineFault::NotATensor { port: one_line(&info.name) });
    };
    let dtype = u8::try_from(tensor.elem_type).ok().and_then(DataType::from_u8);
    let dtype = dtype.ok_or_else(|| EngineFault::NotATensor { port: one_line(&info.name) })?;
    if datum_type(dtype).is_none() {
        return Err(EngineFault::TractLacks { port: one_line(&info.name), dtype });
    }
    let dim = |dim: &pb::tensor_shape_proto::Dimension| match &dim.value {
        Some(dimension::Value::DimValue(size)) => u64::try_from(*size).map_or(Dim::Symbolic(String::new()), Dim::Fixed),
        Some(dimension::Value::DimParam(name)) => Dim::Symbolic(name.clone()),
        None => Dim::Symbolic(String::new()),
    };
    let shape = tensor.shape.iter().flat_map(|shape| &shape.dim).map(dim).collect();
    Ok(Port { name: info.name.clone(), dtype, shape })
}

/// tract lacks strings and the types below a byte, or accepts them only from unsafe code.
const fn datum_type(dtype: DataType) -> Option<DatumType> {
    Some(match dtype {
        DataType::Bool => DatumType::Bool,
        DataType::U8 => DatumType::U8,
        DataType::U16 => DatumType::U16,
        DataType::U32 => DatumType::U32,
        DataType::U64 => DatumType::U64,
        DataType::I8 => DatumType::I8,
        DataType::I16 => DatumType::I16,
        DataType::I32 => DatumType::I32,
        DataType::I64 => DatumType::I64,
        DataType::F16 => DatumType::F16,
        DataType::F32 => DatumType::F32,
        DataType::F64 => DatumType::F64,
        _ => return None,
    })
}

/// The shapes of all inputs if all are fixed.
fn fixed(signature: &Signature) -> Option<Dims> {
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => usize::try_from(*size).ok(),
        Dim::Symbolic(_) => None,
    };
    signature.inputs.iter().map(|port| port.shape.iter().map(size).collect()).collect()
}

impl Shared {
    /// The plan for inputs of these shapes. Planning does not block other runs.
    fn plan(&self, dims: Dims) -> Result<Plan, String> {
        if let Some(plan) = self.plans().find(&dims) {
            return Ok(plan);
        }
        let plan = guarded(|| self.make(&dims))?;
        self.plans().keep(dims, &plan);
        Ok(plan)
    }

    fn plans(&self) -> MutexGuard<'_, Plans> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make(&self, dims: &Dims) -> TractResult<Plan> {
        let mut model = self.model.clone();
        for (index, (port, dims)) in self.signature.inputs.iter().zip(dims).enumerate() {
            if let Some(dtype) = datum_type(port.dtype) {
                model.set_input_fact(index, InferenceFact::dt_shape(dtype, dims.iter().copied()))?;
            }
        }
        model.into_optimized()?.into_runnable()
    }
}

impl Plans {
    fn find(&mut self, dims: &Dims) -> Option<Plan> {
        let at = self.0.iter().position(|(known, _)| known == dims)?;
        let found = self.0.remove(at);
        let plan = Arc::clone(&found.1);
        self.0.push(found);
        Some(plan)
    }

    fn keep(&mut self, dims: Dims, plan: &Plan) {
        if self.0.len() >= PLANS {
            self.0.remove(0);
        }
        self.0.push((dims, Arc::clone(plan)));
    }
}

struct TractModel(Arc<Shared>);

impl Model for TractModel {
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault> {
        let Shared { signature, .. } = &*self.0;
        let ordered = signature.order(inputs)?;
        let values = ordered.iter().zip(&signature.inputs).map(|(tensor, port)| value(tensor, &port.name));
        let values = values.collect::<Result<TVec<TValue>, _>>()?;
        let dims = values.iter().map(|value| value.shape().iter().copied().collect()).collect();
        let plan = self.0.plan(dims).map_err(ModelFault::TractFailed)?;
        let outputs = guarded(|| plan.run(values)?.into_iter().zip(&signature.outputs).map(Output::read).collect());
        let outputs: Few<Output> = outputs.map_err(ModelFault::TractFailed)?;
        let named = outputs.iter().zip(&signature.outputs);
        let tensors: Few<Tensor<'_>> = named.map(|(output, port)| output.tensor(port)).collect();
        take(&tensors);
        Ok(())
    }
}

/// Copies a tensor into one of tract's.
fn value(tensor: &Tensor<'_>, name: &str) -> Result<TValue, ModelFault> {
    let unfit = |what: &str| ModelFault::bad_data(name, what);
    if byte_len(tensor.dtype, tensor.shape) != Some(tensor.data.len()) {
        return Err(unfit("its number of bytes does not match its shape"));
    }
    if tensor.dtype == DataType::Bool && tensor.data.iter().any(|&byte| byte > 1) {
        return Err(unfit("a bool is neither 0 nor 1"));
    }
    let dims = tensor.shape.iter().map(usize::try_from).collect::<Result<Few<_>, _>>();
    let dims = dims.map_err(|_| unfit("a dimension is larger than memory"))?;
    let dtype = datum_type(tensor.dtype).ok_or_else(|| unfit("tract does not support its type"))?;
    let made = guarded(|| {
        let mut made = Value::zero_dt(dtype, &dims)?;
        made.as_bytes_mut().copy_from_slice(tensor.data);
        Ok(made)
    });
    Ok(made.map_err(ModelFault::TractFailed)?.into())
}

struct Output {
    value: Value,
    dims: Few<u64>,
}

impl Output {
    /// Casts the output to the model's type: tract computes integers of ONNX as dimensions.
    fn read((value, port): (TValue, &Port)) -> TractResult<Self> {
        let value = Value::clone(&value);
        let value = match datum_type(port.dtype) {
            Some(dtype) if value.datum_type() != dtype => value.cast_to_dt(dtype)?.into_owned(),
            _ => value,
        };
        let dims = value.shape().iter().map(|&size| size as u64).collect();
        Ok(Self { value, dims })
    }

    fn tensor<'a>(&'a self, port: &'a Port) -> Tensor<'a> {
        let shape = Shape::from(&*self.dims);
        Tensor { name: &port.name, dtype: port.dtype, shape, data: self.value.as_bytes() }
    }
}
