//! The account of a run: outstanding requests, stored messages, answers and statistics.

pub mod answers;
pub mod outstanding;
pub mod stats;
pub mod stream_messages;
