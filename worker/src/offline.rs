//! Runs stored messages through any version of a model, inside a command: without a worker or a live consumer.
//!
//! One message: `source_stream.rs` reads it, `run.rs` runs it on a lane, `publisher.rs` publishes its result.
//! `replay.rs` does this for a range of a stream, and `compare.rs` compares the results with the stored ones.
//! `dead_letter_replay.rs` does it for dead letters, read by `dead_letter_stream.rs`. Nothing here prints.

pub mod compare;
pub mod dead_letter;
pub mod dead_letter_replay;
pub mod dead_letter_stream;
pub mod fault;
pub mod load;
pub mod position;
pub mod publisher;
pub mod replay;
pub mod run;
pub mod source_stream;
