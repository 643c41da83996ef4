//! Every bound of the protocol, so that the work for a request is bounded before it starts.

/// Inputs of one request, and outputs that it asks for: as many as a frame has tensors.
pub use inferbus_abi::limits::MAX_TENSORS;

/// Dimensions of one tensor, and so how deep its data may nest.
pub use inferbus_abi::limits::MAX_RANK;

/// Bytes of one tensor's name.
pub use inferbus_abi::limits::MAX_NAME;

/// The largest dimension.
pub use inferbus_abi::limits::MAX_DIMENSION;

/// How deep the MessagePack form may nest: a tensor's data, and what is around it. JSON stops at 128 by itself.
pub const MAX_DEPTH: usize = MAX_RANK + 8;

/// Bytes of a request's `id`.
pub const MAX_ID: usize = 1024;

/// Bytes of all tensors of one request, once they are decoded: a list in text can say more than its own length.
pub const MAX_DATA: usize = 64 << 20;

/// Bytes of one response.
pub const MAX_RESPONSE: usize = 256 << 20;

/// Characters of a name or a value that an error quotes.
pub const QUOTED: usize = 64;
