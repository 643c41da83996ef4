//! The load generator: requests at a rate or a concurrency, and an account of every request.
//!
//! - `generate/` decides when a request is due, which target it addresses and which payload it carries.
//! - `drive.rs` sends requests and receives answers. `run.rs` is one run; `sweep.rs` searches the highest sustained
//!   rate.
//! - `account/` tracks outstanding requests, compares answers and counts.
//! - `report/` holds the outcome of a run and draws it as HTML with SVG charts.
//!
//! Guarantees: nothing in this crate prints or parses arguments. It depends on a NATS client, and not on the worker.
#![forbid(unsafe_code)]

pub mod account;
pub mod drive;
pub mod fault;
pub mod generate;
pub mod headers;
pub mod limits;
pub mod random;
pub mod report;
pub mod run;
pub mod settings;
pub mod sweep;
