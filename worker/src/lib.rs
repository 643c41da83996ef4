//! The worker: everything between a NATS subject and a model.
//!
//! One request: `requests/admission.rs` accepts it, `lanes/lane.rs` computes it by the crate `inferbus-pipeline`,
//! `requests/reply.rs` answers it. One stored message: `stream.rs` lists its files. Off the path, `models/resolver.rs`
//! follows the catalog.
//!
//! The rooms below are in order: each uses only rooms above it.
#![forbid(unsafe_code)]

pub mod excerpt;
mod failpoint;
pub mod limits;

pub mod nats;

pub mod config;

pub mod observe;

mod crashes;

pub mod models;

pub mod lanes;

pub mod stream;

mod requests;

pub mod status;

mod open_inference;

pub mod app;

pub mod dev_server;
pub mod doctor;
pub mod offline;
