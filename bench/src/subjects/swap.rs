//! Swaps of a model's version: their duration, and their effect on latency and memory.

pub mod first_result;
mod latencies;
pub mod many_bumps;
pub mod sizes;
