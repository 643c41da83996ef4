//! The Open Inference Protocol V2 without I/O: decodes requests to tensors, and encodes outputs as a response.
//!
//! Guarantees: for any bytes, nothing here panics, blocks or performs I/O.
//! A request's claims are checked before memory is allocated for them. The bounds are in [`limits`].

#![forbid(unsafe_code)]

mod data;
mod data_type;
mod document;
mod fault;
mod float;
pub mod limits;
#[cfg(any(test, feature = "oracle"))]
mod oracle;
mod request;
mod response;
#[cfg(test)]
mod tests;

pub use data_type::name;
pub use fault::Fault;
#[cfg(any(test, feature = "oracle"))]
pub use oracle::oracle;
pub use request::Request;
pub use response::{Content, Response, pack};

/// The encoding of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With `header_len`, the JSON has that many bytes, and the tensors' binary data follows.
    Json {
        header_len: Option<usize>,
    },
    MessagePack,
}
