//! Lanes: the compute threads and the queue in front of them.

pub mod lane;
pub mod queue;
