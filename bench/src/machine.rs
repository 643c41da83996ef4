//! Measurements of processor time and memory, by the operating system.

pub mod clock;
pub mod process;
