//! Networks and sessions on ONNX Runtime.
//!
//! The crate `ort` creates the sessions. Runs call ONNX Runtime's C API directly: on every run, `ort` queries the type
//! of each output, and for a tiny model that costs more than the run.

use std::{
    ffi::{CString, c_char},
    ptr,
    sync::{Arc, Mutex, PoisonError},
};

use inferbus_abi::frame::Tensor;
use ort::{
    AsPointer, api,
    ep::{CPU, CUDA, OpenVINO, TensorRT},
    memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType},
    session::{Session, builder::GraphOptimizationLevel},
    sys,
    value::{Outlet, ValueType},
};

use super::convert::{Input, Output, Value, check, data_type};
use super::deadline::Timer;
use super::library::Runtime;
use crate::fault::one_line;
use crate::limits::{MAX_PORTS, SHARED_FROM};
use crate::model_file::{examine, is_ort_format};
use crate::signature::Few;
use crate::{Dim, EngineFault, Model, ModelFault, Network, Options, Port, Provider, Sharing, Signature};

/// One ONNX model on ONNX Runtime.
pub struct OnnxNetwork {
    runtime: Runtime,
    /// The model's name for the log.
    label: Arc<str>,
    options: Options,
    signature: Arc<Signature>,
    sessions: Sessions,
}

/// The source of a lane's session.
enum Sessions {
    /// Several threads may run one session. ONNX Runtime locks if a provider requires it.
    One(Arc<Session>),
    Each {
        /// Kept for later sessions.
        bytes: Vec<u8>,
        /// The session from loading, until the first lane takes it.
        spare: Mutex<Option<Session>>,
    },
}

impl OnnxNetwork {
    /// Checks the model and creates its first session. That session reveals most faults.
    pub fn load(runtime: &Runtime, bytes: impl AsRef<[u8]>, options: Options) -> Result<Self, EngineFault> {
        let bytes = bytes.as_ref();
        examine(bytes, &options)?;
        if !runtime.has(options.provider) {
            let (asked, has) = (options.provider.name(), runtime.providers.join(", "));
            return Err(EngineFault::NoProvider { asked, has });
        }
        let session = open(runtime, bytes, options).map_err(refused)?;
        let signature = Signature { inputs: ports(session.inputs())?, outputs: ports(session.outputs())? };
        let each = match options.sharing {
            Sharing::BySize => bytes.len() < SHARED_FROM,
            Sharing::One => false,
            Sharing::Each => true,
        };
        let sessions = if each {
            Sessions::Each { bytes: bytes.to_vec(), spare: Mutex::new(Some(session)) }
        } else {
            Sessions::One(Arc::new(session))
        };
        let (runtime, label) = (runtime.clone(), Arc::default());
        Ok(Self { runtime, label, options, signature: Arc::new(signature), sessions })
    }

    /// Sets the model's name for the log.
    pub fn named(mut self, label: impl Into<Arc<str>>) -> Self {
        self.label = label.into();
        self
    }
}

impl Network for OnnxNetwork {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn is_shared(&self) -> bool {
        matches!(self.sessions, Sessions::One(_))
    }

    fn session(&self) -> Result<Box<dyn Model>, EngineFault> {
        let session = match &self.sessions {
            Sessions::One(session) => Arc::clone(session),
            Sessions::Each { bytes, spare } => {
                let spare = spare.lock().unwrap_or_else(PoisonError::into_inner).take();
                Arc::new(spare.map_or_else(|| open(&self.runtime, bytes, self.options).map_err(refused), Ok)?)
            }
        };
        let timer = Timer::new(self.options.time, self.options.arena, Arc::clone(&self.label))?;
        let model = OnnxModel::new(session, timer, Arc::clone(&self.signature))?;
        Ok(Box::new(model) as Box<dyn Model>)
    }
}

fn open(runtime: &Runtime, bytes: &[u8], options: Options) -> ort::Result<Session> {
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.threads)?
        .with_inter_threads(1)?
        // Lanes share the processors, so a waiting thread must not spin.
        .with_intra_op_spinning(false)?
        // It keeps a plan for every shape without a bound, and runs are equally fast without it.
        .with_memory_pattern(false)?
        // Otherwise ONNX Runtime guesses the format. It must be the screened one.
        .with_config_entry("session.load_model_format", if is_ort_format(bytes) { "ORT" } else { "ONNX" })?;
    // The processor's provider is always present. It is listed only to configure it.
    let processor = CPU::default().with_arena_allocator(false).build().error_on_failure();
    let device = match options.provider {
        Provider::Cpu => None,
        Provider::Cuda => Some(CUDA::default().build()),
        Provider::TensorRt => Some(TensorRT::default().build()),
        Provider::OpenVino => Some(OpenVINO::default().build()),
    };
    let providers = device.map(|device| device.error_on_failure()).into_iter();
    let providers: Vec<_> = providers.chain((!options.arena).then_some(processor)).collect();
    if !providers.is_empty() {
        builder = builder.with_execution_providers(providers)?;
    }
    builder.commit_from_memory(bytes)
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
    // ONNX Runtime returns -1 for an open size.
    let dim = |(size, symbol): (&i64, &String)| u64::try_from(*size).map_or(Dim::Symbolic(symbol.clone()), Dim::Fixed);
    let shape = shape.iter().zip(dimension_symbols.iter()).map(dim).collect();
    Ok(Port { name: outlet.name().into(), dtype, shape })
}

/// One thread's session.
struct OnnxModel {
    session: Arc<Session>,
    timer: Timer,
    signature: Arc<Signature>,
    inputs: Names,
    outputs: Names,
    memory: MemoryInfo<'static>,
}

impl OnnxModel {
    fn new(session: Arc<Session>, timer: Timer, signature: Arc<Signature>) -> Result<Self, EngineFault> {
        let memory =
            MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Device, MemoryType::Default).map_err(refused)?;
        let (inputs, outputs) = (Names::new(&signature.inputs)?, Names::new(&signature.outputs)?);
        Ok(Self { session, timer, signature, inputs, outputs, memory })
    }

    fn execute(&mut self, inputs: &[Input<'_>]) -> Result<Few<Value>, ModelFault> {
        let inputs: Few<*const sys::OrtValue> = inputs.iter().map(Input::as_ptr).collect();
        let mut outputs: Few<_> = self.outputs.pointers.iter().map(|_| ptr::null_mut()).collect();
        let Self { session, timer, inputs: input_names, outputs: output_names, .. } = self;
        let ran = timer.time(|options| {
            // SAFETY: input values and input names have the same number and order, since the signature ordered them.
            // There is a place for each output name. All of them and the options live until the call returns.
            // Several threads may run a session at once.
            unsafe {
                check((api().Run)(
                    session.ptr().cast_mut(),
                    options,
                    input_names.pointers.as_ptr(),
                    inputs.as_ptr(),
                    inputs.len().min(input_names.pointers.len()),
                    output_names.pointers.as_ptr(),
                    outputs.len(),
                    outputs.as_mut_ptr(),
                ))
            }
        });
        // SAFETY: each is null or a value for us to own. They are owned before the fault is returned, so that the
        // outputs of a failed run are released.
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

/// Names in the form required by ONNX Runtime's run call.
struct Names {
    pointers: Vec<*const c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers refer to the heap memory of `_owned`, which moves with them and never changes.
unsafe impl Send for Names {}

impl Names {
    fn new(ports: &[Port]) -> Result<Self, EngineFault> {
        let owned = ports.iter().map(|port| CString::new(port.name.as_str())).collect::<Result<Vec<_>, _>>();
        let owned = owned.map_err(|why| EngineFault::Refused(one_line(&why.to_string())))?;
        Ok(Self { pointers: owned.iter().map(|name| name.as_ptr()).collect(), _owned: owned })
    }
}
