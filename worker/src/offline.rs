//! Stored messages run again inside a command: any version of a model, no worker and no live consumer involved.
//!
//! Follow a message: `read.rs` takes it from its stream, `run.rs` gives it to a lane, `deliver.rs` publishes what came of
//! it. `again.rs` does so for a range of a stream and `compare.rs` holds its results against the stored ones;
//! `redo.rs` does so for dead letters, which `letter.rs` reads. Nothing here prints.

pub mod again;
pub mod compare;
pub mod dead_letters;
pub mod deliver;
pub mod excerpt;
pub mod fault;
pub mod letter;
pub mod position;
pub mod read;
pub mod redo;
pub mod run;
pub mod version;
