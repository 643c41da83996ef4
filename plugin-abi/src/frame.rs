//! The tensor frame: several named tensors of any ONNX type in one byte string, with data aligned for use in place.
//!
//! `ABI.md` specifies the layout byte by byte.
//!
//! Guarantees: each content has one encoding. [`encode`] reproduces every accepted frame exactly, and [`Frame::decode`]
//! accepts every encoded frame. Decoding must never panic or allocate.

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
/// The alignment of a tensor's header, to read its shape in place.
const HEADER_ALIGNMENT: usize = 8;
