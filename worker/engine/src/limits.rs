//! Every bound of the engine.

use std::time::Duration;

/// The oldest supported ONNX Runtime 1.x; the crate `ort` is built for exactly its C API.
pub const MIN_RUNTIME_MINOR: u32 = 17;

/// Bytes of one model: protobuf's limit, and ONNX Runtime takes the length as a signed 32-bit number.
pub const MAX_MODEL: usize = i32::MAX as usize;

/// Inputs, and outputs, of one model: a frame's limit on tensors.
pub const MAX_PORTS: usize = inferbus_abi::limits::MAX_TENSORS;

/// Dimensions of one tensor: a frame's limit.
pub const MAX_RANK: usize = inferbus_abi::limits::MAX_RANK;

/// Elements of one shape inside a model.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// Reported operator sets of one model.
pub const MAX_OPSETS: usize = 64;

/// Nesting of a model's messages: protobuf's own limit.
pub const MAX_NESTING: usize = 100;

/// Threads of one session inside an operator.
pub const MAX_THREADS: usize = 256;

/// Bytes of one input in a warm-up run.
pub const MAX_WARM_UP: usize = 64 << 20;

/// Bytes of the smallest model with one session for all lanes. Below, each lane has a session.
pub const SHARED_FROM: usize = 1 << 20;

/// Plans of one model on tract, one per combination of input shapes.
#[cfg(feature = "tract")]
pub(crate) const PLANS: usize = 8;

/// The time limit of one run, unless the entry sets another.
pub const RUN_TIME: Duration = Duration::from_secs(10);

/// The interval between checks of running models. A time limit is exact to two ticks.
pub const TICK: Duration = Duration::from_millis(10);

/// A run counts as stuck this long after its stop request.
pub const STUCK: Duration = Duration::from_secs(5);

/// Address space of the trial process.
pub const TRIAL_MEMORY: u64 = 2 << 30;

/// Additional address space of the trial process for each byte of the model.
pub const TRIAL_MEMORY_PER_BYTE: u64 = 8;

/// Processor time of the trial process.
pub const TRIAL_PROCESSOR_TIME: Duration = Duration::from_secs(60);

/// Wall-clock time of the trial process, also on a busy machine.
pub const TRIAL_TIME: Duration = Duration::from_secs(90);

/// Bytes of the trial process's answer, and of any other file it writes.
pub const TRIAL_WORDS: u64 = 64 << 10;

/// Niceness of the trial process, so that lanes run first.
pub const TRIAL_NICENESS: i32 = 10;

/// Bytes of a message from ONNX Runtime. It quotes names from the model, of any length.
pub const MAX_MESSAGE: usize = 1024;

const _: () = assert!(MAX_ELEMENTS <= u64::MAX / 16, "the bytes of a tensor must be countable");
// The minimum in messages equals the enforced one.
const _: () = assert!(MIN_RUNTIME_MINOR == ort::MINOR_VERSION);
// Tensors are used in place, so frames and ONNX Runtime must agree on the byte order.
const _: () = assert!(cfg!(target_endian = "little"));
