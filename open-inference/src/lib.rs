//! The Open Inference Protocol V2 as bytes: a request becomes tensors, and outputs become its response.
//!
//! Promises: nothing here waits, talks to anybody or panics, whatever the bytes are. What a request claims is counted
//! before memory is taken for it, and the bounds are in [`limits`].
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

/// How a request is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// With `header_len`, so many bytes are JSON, and the tensors' data follows them.
    Json {
        header_len: Option<usize>,
    },
    MessagePack,
}
