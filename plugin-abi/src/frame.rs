//! The tensor frame: several named tensors of any ONNX type in one run of bytes, each tensor's data aligned for use in place.
//!
//! `ABI.md` has the layout byte by byte. It promises one encoding per content: whatever [`Frame::decode`] accepts,
//! [`encode`] writes back identically, and whatever [`encode`] writes, [`Frame::decode`] accepts.
//! It must never panic or allocate while decoding.

mod check;
mod data_type;
mod decode;
mod encode;
mod fault;
#[cfg(any(test, feature = "oracle"))]
mod oracle;
mod shape;
mod strings;
mod tensor;
#[cfg(test)]
mod tests;

pub use data_type::DataType;
pub use decode::{Frame, Tensors};
pub use encode::{blank_into, blank_len, encode, encode_into, encoded_len};
pub use fault::FrameFault;
#[cfg(any(test, feature = "oracle"))]
pub use oracle::oracle;
pub use shape::Shape;
pub use strings::{Strings, encode_strings, strings};
pub use tensor::Tensor;

/// The first bytes of every frame: the format's name and its version.
pub const MAGIC: [u8; 4] = *b"IBT1";

/// Bytes before the first tensor: the magic and the count.
const FRAME_HEADER: usize = 8;
/// Bytes before a tensor's shape: type, rank, name length, data length.
const TENSOR_HEADER: usize = 8;
/// What a tensor's header is aligned to, so that its shape can be read in place.
const HEADER_ALIGNMENT: usize = 8;
