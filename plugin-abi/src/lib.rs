//! The wire between a worker and its plugins, exactly as `ABI.md` describes it: the packed result and the tensor frame.
//!
//! It promises that decoding is total: any bytes give a value or a fault that says what is wrong and where.
//! It must never allocate while decoding, need `std`, or know who is on either side: it is compiled into guests too.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod frame;
pub mod limits;
mod returned;

pub use returned::Returned;

/// The version of the contract that `ABI.md` describes.
pub const ABI_VERSION: u32 = 1;

/// What `alloc` aligns its memory to, and what a frame aligns every tensor's data to, counted from the frame's start.
///
/// Sixteen bytes hold the widest ONNX element (`complex128`), so that a tensor can be used where it lies.
pub const ALIGNMENT: usize = 16;
