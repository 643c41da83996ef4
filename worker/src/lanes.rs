//! Lanes: the compute threads, the queue in front of them, and the tickets of their messages.

pub mod dispatch;
pub mod lane;
pub mod queue;
pub mod ticket;
