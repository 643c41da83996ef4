//! The data format between a worker and its plugins, as specified in `ABI.md`: the packed result and the tensor frame.
//!
//! Guarantees: decoding is total. Any bytes decode to a value or to a fault with its position.
//! It must never allocate while decoding, need `std`, or depend on a worker or an SDK: plugins contain it, too.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;
pub mod limits;
mod returned;

pub use returned::Returned;

/// The alignment of memory from `alloc`, and of every tensor's data relative to the frame's start.
///
/// Sixteen bytes hold the widest ONNX element (`complex128`), so tensors can be used in place.
pub const ALIGNMENT: usize = 16;

/// Runs the example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
