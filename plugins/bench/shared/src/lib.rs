//! What the benchmark's plugins compute. The benchmark runs the same source natively, with nothing around it.
//!
//! It must never depend on the SDK, and never be quicker on one side by another algorithm there.

#![forbid(unsafe_code)]

pub mod image;
mod lanes;
pub mod tiny;
