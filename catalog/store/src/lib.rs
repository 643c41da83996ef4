//! The model catalog in NATS JetStream: a client to push, activate, read and follow entries, pointers and routes.
//!
//! Guarantees: every returned document is parsed, and every returned artifact has the size and digest in its entry.
//! Every wait is bounded. The document types of `inferbus-catalog-document` are exported here too.
//!
//! Prohibitions: no inference engine and no WebAssembly runtime, so operators can edit a catalog without either.

#![forbid(unsafe_code)]

mod activate;
mod artifacts;
mod bucket;
mod catalog;
mod fault;
mod follower;
pub mod jitter;
pub mod limits;
mod push;

pub use activate::{Activate, Activated, HistoryItem};
pub use catalog::{Catalog, ModelSummary, RouteSummary};
pub use fault::CatalogFault;
pub use follower::{Changes, FollowOptions, Follower, FollowerState};
pub use inferbus_catalog_document::*;
pub use push::{Progress, PushOptions, PushPhase, Pushed};
