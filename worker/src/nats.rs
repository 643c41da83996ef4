//! The connection to NATS: settings, reconnects, retry pauses, headers.

pub(crate) mod backoff;
pub mod connect;
pub mod headers;
