//! Every bound of the data format. They bound a decoder's work before it starts.

/// Tensors in one frame.
pub const MAX_TENSORS: usize = 256;

/// Dimensions of one tensor.
pub const MAX_RANK: usize = 32;

/// Bytes of one tensor's name.
pub const MAX_NAME: usize = 1024;

/// The largest dimension: ONNX counts in signed 64-bit numbers.
pub const MAX_DIMENSION: u64 = i64::MAX as u64;

/// Bytes of one frame: a guest's memory is addressed by 32 bits.
pub const MAX_FRAME: usize = u32::MAX as usize;

// A tensor's header gives the rank one byte and the name's length two.
const _: () = assert!(MAX_RANK <= u8::MAX as usize);
const _: () = assert!(MAX_NAME <= u16::MAX as usize);
// Names are compared pairwise, to decode without memory. This bounds the worst case to a few milliseconds.
const _: () = assert!(MAX_TENSORS * MAX_TENSORS / 2 * MAX_NAME <= 64 << 20);
