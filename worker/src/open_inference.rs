//! The Open Inference Protocol V2 around the message path: what a model is, and the way in over HTTP.
//!
//! How tensors are written is in `wire.rs`, for requests over NATS and HTTP alike.

pub mod http;
pub mod metadata;
pub mod model_queries;
