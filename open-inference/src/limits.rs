//! Every bound of the protocol. They bound the work for a request before it starts.

/// Inputs, and requested outputs, of one request: a frame's limit on tensors.
pub use inferbus_abi::limits::MAX_TENSORS;

/// Dimensions of one tensor, and so the nesting of its data.
pub use inferbus_abi::limits::MAX_RANK;

/// Bytes of one tensor's name.
pub use inferbus_abi::limits::MAX_NAME;

/// The largest dimension.
pub use inferbus_abi::limits::MAX_DIMENSION;

/// Nesting of MessagePack: a tensor's data and the maps around it. The JSON parser has its own limit of 128.
pub const MAX_DEPTH: usize = MAX_RANK + 8;

/// Bytes of a request's `id`.
pub const MAX_ID: usize = 1024;

/// Decoded bytes of all tensors of one request. They can exceed the length of their text.
pub const MAX_DATA: usize = 64 << 20;

/// Bytes of one response.
pub const MAX_RESPONSE: usize = 256 << 20;

/// Characters of a name or value in an error.
pub const QUOTED: usize = 64;
