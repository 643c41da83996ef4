//! The worker: everything between a NATS subject and a model.
//!
//! Rooms, from the bottom to the top; each uses only those above it in this list.
#![forbid(unsafe_code)]

pub mod failpoint;
pub mod limits;

pub mod nats;

pub mod config;
pub mod job;
pub mod outcome;
pub mod together;
pub mod wire;

pub mod observe;

pub mod crashes;

pub mod models;

pub mod lanes;

pub mod stream;

pub mod requests;

pub mod status;

pub mod open_inference;

pub mod app;

pub mod bench;
pub mod dev_server;
pub mod doctor;
pub mod offline;
