//! Programs that the benchmark starts as separate processes.

pub mod answer;
pub mod bare_loop;
pub mod echo;
pub mod native;
pub mod worker;
