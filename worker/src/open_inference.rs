//! The Open Inference Protocol V2 around the message path: model metadata, and requests over HTTP.
//!
//! The encoding of tensors is in the crate `inferbus-open-inference`, for requests over NATS and HTTP.

pub(crate) mod http;
pub(crate) mod metadata;
pub(crate) mod model_queries;
