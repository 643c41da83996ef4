//! Every bound of the engine.

use std::time::Duration;

/// The oldest ONNX Runtime 1.x that serves; the crate `ort` is built for exactly its C API.
pub const MIN_RUNTIME_MINOR: u32 = 17;

/// Bytes of one model: protobuf ends there, and ONNX Runtime takes the length as a signed 32-bit number.
pub const MAX_MODEL: usize = i32::MAX as usize;

/// Inputs, and outputs, of one model: as many as a frame has tensors.
pub const MAX_PORTS: usize = inferbus_abi::limits::MAX_TENSORS;

/// Dimensions of one tensor: as many as a frame can say.
pub const MAX_RANK: usize = inferbus_abi::limits::MAX_RANK;

/// Elements that a shape inside a model may have.
pub const MAX_ELEMENTS: u64 = 1 << 40;

/// Operator sets of one model that are told.
pub const MAX_OPSETS: usize = 64;

/// How deep a model's messages may nest: protobuf itself stops there.
pub const MAX_NESTING: usize = 100;

/// Threads that one session may use inside an operator.
pub const MAX_THREADS: usize = 256;

/// Bytes of one input that a new session is warmed up with.
pub const MAX_WARM_UP: usize = 64 << 20;

/// From so many bytes on, the lanes of a model share one session; below, each has its own.
pub const SHARED_FROM: usize = 1 << 20;

/// Plans of one model on tract, each for other shapes of its inputs.
#[cfg(feature = "tract")]
pub(crate) const PLANS: usize = 8;

/// What one run may take unless the entry says otherwise.
pub const RUN_TIME: Duration = Duration::from_secs(10);

/// How often running models are looked at; a limit on their time is kept to within two of these.
pub const TICK: Duration = Duration::from_millis(10);

/// How long after it was told to stop a run counts as stuck.
pub const STUCK: Duration = Duration::from_secs(5);

/// Address space of the process that tries a model, and how much more for each byte of the model; its processor time and,
/// however busy the machine is, its time from start to end.
pub const TRIAL_MEMORY: u64 = 2 << 30;
pub const TRIAL_MEMORY_PER_BYTE: u64 = 8;
pub const TRIAL_PROCESSOR_TIME: Duration = Duration::from_secs(60);
pub const TRIAL_TIME: Duration = Duration::from_secs(90);

/// Bytes of its answer, and of what it may write at all.
pub const TRIAL_WORDS: u64 = 64 << 10;

/// How far it steps back behind the lanes.
pub const TRIAL_NICENESS: i32 = 10;

/// Bytes of a message from ONNX Runtime; it quotes names out of the model, which may be of any length.
pub const MAX_MESSAGE: usize = 1024;

const _: () = assert!(MAX_ELEMENTS <= u64::MAX / 16, "the bytes of a tensor must be countable");
// The minimum that messages state is the one that is enforced.
const _: () = assert!(MIN_RUNTIME_MINOR == ort::MINOR_VERSION);
// Frames and ONNX Runtime must agree on the bytes of a number, since tensors are used where they lie.
const _: () = assert!(cfg!(target_endian = "little"));
