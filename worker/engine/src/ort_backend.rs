//! Networks and sessions on ONNX Runtime.
//!
//! Sessions are made by the crate `ort`; runs go to ONNX Runtime's C API directly, since `ort` describes every
//! output anew on each run, which costs a tiny model more than its own work.

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use inferbus_abi::frame::Tensor;
use ort::{
    AsPointer, api,
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{Session, builder::GraphOptimizationLevel},
    sys,
    value::{Outlet, ValueType},
};

use crate::{
    Dim, EngineFault, Model, ModelFault, Network, Port, Runtime, Signature,
    convert::{Input, Output, Value, check, data_type},
    fault::one_line,
    few::Few,
    limits::{MAX_MODEL, MAX_PORTS, MAX_THREADS},
    screen::screen,
};

/// How the sessions of a network run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Threads inside one operator. With one, a run stays on the thread that asked for it.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { threads: 1 }
    }
}

/// One ONNX model on ONNX Runtime.
pub struct OnnxNetwork {
    runtime: Runtime,
    /// Kept for the sessions still to come.
    bytes: Arc<[u8]>,
    options: Options,
    signature: Arc<Signature>,
    /// The session that told the signature, until the first lane takes it.
    spare: Mutex<Option<Session>>,
}

impl OnnxNetwork {
    /// Checks the model and makes its first session, which is what finds most faults.
    pub fn load(runtime: &Runtime, bytes: impl Into<Arc<[u8]>>, options: Options) -> Result<Self, EngineFault> {
        let bytes = bytes.into();
        if !(1..=MAX_THREADS).contains(&options.threads) {
            return Err(EngineFault::BadThreads { threads: options.threads });
        }
        if bytes.len() > MAX_MODEL {
            return Err(EngineFault::ModelTooLarge { len: bytes.len() });
        }
        screen(&bytes)?;
        let session = open(runtime, &bytes, options).map_err(refused)?;
        let signature = Signature { inputs: ports(session.inputs())?, outputs: ports(session.outputs())? };
        Ok(Self {
            runtime: runtime.clone(),
            bytes,
            options,
            signature: Arc::new(signature),
            spare: Mutex::new(Some(session)),
        })
    }
}

impl Network for OnnxNetwork {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn session(&self) -> Result<Box<dyn Model>, EngineFault> {
        let spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner).take();
        let session = match spare {
            Some(session) => session,
            None => open(&self.runtime, &self.bytes, self.options).map_err(refused)?,
        };
        OnnxModel::new(session, Arc::clone(&self.signature)).map(|model| Box::new(model) as Box<dyn Model>)
    }
}

fn open(runtime: &Runtime, bytes: &[u8], options: Options) -> ort::Result<Session> {
    Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        // Lanes share the processors with each other: a thread that waits must not burn one.
        .with_intra_op_spinning(false)?
        // Its plans are kept for every shape ever seen, without a bound, and runs measured no slower without.
        .with_memory_pattern(false)?
        // Without this, ONNX Runtime guesses, and reads its own format, which nothing here has checked.
        .with_config_entry("session.load_model_format", "ONNX")?
        .commit_from_memory(bytes)
}

fn refused(why: ort::Error) -> EngineFault {
    EngineFault::Refused(one_line(why.message()))
}

fn ports(outlets: &[Outlet]) -> Result<Vec<Port>, EngineFault> {
    if outlets.len() > MAX_PORTS {
        return Err(EngineFault::TooManyPorts { ports: outlets.len() });
    }
    outlets.iter().map(port).collect()
}

fn port(outlet: &Outlet) -> Result<Port, EngineFault> {
    let no_tensor = || EngineFault::NotATensor { port: one_line(outlet.name()) };
    let ValueType::Tensor { ty, shape, dimension_symbols } = outlet.dtype() else {
        return Err(no_tensor());
    };
    let dtype = data_type(sys::ONNXTensorElementDataType::from(*ty) as i32).ok_or_else(no_tensor)?;
    // ONNX Runtime says -1 where the size is open.
    let dim = |(size, symbol): (&i64, &String)| u64::try_from(*size).map_or(Dim::Symbolic(symbol.clone()), Dim::Fixed);
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    Ok(Port { name: outlet.name().into(), dtype, shape })
}

/// One thread's session.
struct OnnxModel {
    session: Session,
    signature: Arc<Signature>,
    inputs: Names,
    outputs: Names,
    memory: MemoryInfo<'static>,
}

impl OnnxModel {
    fn new(session: Session, signature: Arc<Signature>) -> Result<Self, EngineFault> {
        let memory =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).map_err(refused)?;
        let (inputs, outputs) = (Names::new(&signature.inputs)?, Names::new(&signature.outputs)?);
        Ok(Self { session, signature, inputs, outputs, memory })
    }

    fn execute(&mut self, inputs: &[Input<'_>]) -> Result<Few<Value>, ModelFault> {
        let inputs: Few<*const sys::OrtValue> = inputs.iter().map(Input::as_ptr).collect();
        let mut outputs: Few<_> = self.outputs.pointers.iter().map(|_| ptr::null_mut()).collect();
        // SAFETY: there are as many input values as input names, in the same order, as the signature ordered them,
        // and as many places for outputs as output names; all of them live until the call returns. `&mut self`
        // keeps the session on one thread at a time.
        let ran = unsafe {
            check((api().Run)(
                self.session.ptr().cast_mut(),
                ptr::null(),
                self.inputs.pointers.as_ptr(),
                inputs.as_ptr(),
                inputs.len().min(self.inputs.pointers.len()),
                self.outputs.pointers.as_ptr(),
                outputs.len(),
                outputs.as_mut_ptr(),
            ))
        };
        // SAFETY: each is null or a value made for us. They are taken over before the fault is looked at, so that
        // what a failed run did make is released.
        let values = outputs.into_iter().map(|value| unsafe { Value::own(value) });
        let values: Few<_> = values.collect();
        ran?;
        values.into_iter().collect()
    }
}

impl Model for OnnxModel {
    fn run(&mut self, inputs: &[Tensor<'_>], take: &mut dyn FnMut(&[Tensor<'_>])) -> Result<(), ModelFault> {
        let ordered = self.signature.order(inputs)?;
        let inputs = ordered
            .into_iter()
            .zip(&self.signature.inputs)
            .map(|(tensor, port)| Input::new(tensor, &port.name, &self.memory))
            .collect::<Result<Few<_>, _>>()?;
        let values = self.execute(&inputs)?;
        let outputs = values.into_iter().map(Output::read).collect::<Result<Few<_>, _>>()?;
        let named = outputs.iter().zip(&self.signature.outputs);
        let tensors: Few<Tensor<'_>> = named.map(|(output, port)| output.tensor(&port.name)).collect();
        take(&tensors);
        Ok(())
    }
}

/// Names as ONNX Runtime wants them on every run.
struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers are to the heap memory of the strings beside them, which move with them and never change.
unsafe impl Send for Names {}

impl Names {
    fn new(ports: &[Port]) -> Result<Self, EngineFault> {
        let owned = ports.iter().map(|port| CString::new(port.name.as_str())).collect::<Result<Vec<_>, _>>();
        let owned = owned.map_err(|why| EngineFault::Refused(one_line(&why.to_string())))?;
        Ok(Self { pointers: owned.iter().map(|name| name.as_ptr()).collect(), _owned: owned })
    }
}
