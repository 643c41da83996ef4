//! Status: health, readiness and metrics over HTTP, and the NATS service answers.

pub mod admin;
pub mod service;
