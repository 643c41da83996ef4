//! The connection to NATS: settings, reconnects, pauses between attempts.

pub mod backoff;
pub mod connect;
