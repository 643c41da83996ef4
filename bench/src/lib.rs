//! What the benchmark's programs have in common: the processes that they are, when they are told to be one.
#![forbid(unsafe_code)]

pub mod echo;
pub mod native;
pub mod serve;
