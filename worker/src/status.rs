//! Status: health, readiness and metrics over HTTP, and the NATS service answers.

pub(crate) mod admin;
pub mod service;
