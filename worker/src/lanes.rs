//! Lanes: the compute threads, the queue in front of them, and the tickets of their messages.

pub(crate) mod dispatch;
pub(crate) mod lane;
pub mod queue;
pub(crate) mod ticket;
