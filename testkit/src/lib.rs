//! Shared by tests, examples and benchmarks: generated inputs, random numbers, memory figures, the breadth of a run.
//!
//! Guarantees: nothing here starts a server or a worker, and equal seeds give equal inputs.
#![forbid(unsafe_code)]

pub mod bad_models;
pub mod breadth;
pub mod compile_bombs;
#[cfg(feature = "sandbox")]
pub mod hostile_modules;
pub mod memory;
pub mod onnx;
pub mod random;
