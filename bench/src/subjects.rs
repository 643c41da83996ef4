//! The measured parts of Inferbus, one file or folder each.

pub mod allocations;
pub mod batching;
pub mod compile_bomb;
pub mod engine;
pub mod large_models;
pub mod launched_worker;
pub mod plugin_cache;
pub mod sandbox;
pub mod start;
pub mod stream;
pub mod swap;
pub mod worker;
pub mod workloads;
