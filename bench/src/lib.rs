//! Helper processes, shared by the programs of the benchmark.
#![forbid(unsafe_code)]

pub mod helpers;
