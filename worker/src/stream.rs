//! Stream routes: every stored message ends in one result, "no result", or one dead letter.
//!
//! The path of one message: `puller.rs` requests it. `in_flight.rs` registers it and hands it to a lane. `settle.rs`
//! stores its result, then acknowledges it. Off the path, `setup.rs` finds or creates the route's streams and consumer.

mod ack_subject;
mod acks;
pub(crate) mod consumer;
pub mod context;
pub(crate) mod credits;
mod dead_letter;
pub mod fault;
mod in_flight;
pub mod names;
pub mod objects;
mod pull_window;
mod puller;
mod settle;
pub mod setup;
mod store;
mod stored_results;
