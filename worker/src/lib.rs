//! The worker: everything between a NATS subject and a model.
//!
//! Follow one message: `bus.rs` takes it, `lane.rs` gives it a thread, `job.rs` runs it, `outcome.rs` says
//! what a failure means, `publish.rs` sends what came of it. `resolve.rs` keeps `registry.rs` at what the
//! catalog says, beside the message path and never on it.
#![forbid(unsafe_code)]

pub mod admin;
pub mod app;
pub mod artifact_cache;
pub mod bench;
pub mod budget;
pub mod bundle;
pub mod bus;
pub mod cold;
pub mod config;
pub mod connect;
pub mod crashes;
pub mod dev_server;
pub mod doctor;
pub mod excerpt;
pub mod failpoint;
pub mod job;
pub mod journal;
pub mod lane;
pub mod limits;
pub mod mailbox;
pub mod memory;
pub mod metrics;
pub mod offline;
pub mod outcome;
pub mod plugin_log;
pub mod publish;
pub mod queue;
pub mod registry;
pub mod resolve;
pub mod retired;
pub mod retry;
pub mod routes;
pub mod service;
pub mod spread;
pub mod stream;
pub mod telemetry;
pub mod together;
pub mod trials;
pub mod v2;
pub mod wire;
