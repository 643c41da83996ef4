//! What the benchmark's plugins compute. The benchmark runs the same source natively, with nothing around it.
//!
//! It must never depend on the SDK, and never be quicker on one side by another algorithm there.

#![forbid(unsafe_code)]

pub mod doubt;
pub mod image;
pub mod jpeg;
mod lanes;
pub mod odds;
pub mod sound;
mod spectrum;
pub mod tiny;
