//! The model catalog: what an entry, a pointer and a route say, and the client that keeps them in JetStream.
//!
//! Promises: nothing that comes out of here is unchecked. Entries, pointers and routes are parsed with every
//! problem named; artifacts are bounded by their entry and hashed again; every wait ends. It must never
//! know an inference engine or a WebAssembly runtime, so that operators can edit a catalog without either.

#![forbid(unsafe_code)]

mod activate;
mod artifacts;
mod bucket;
mod bundle;
mod canonical;
mod catalog;
mod digest;
mod entry;
mod entry_parse;
mod fault;
mod fields;
mod follower;
pub mod jitter;
pub mod limits;
mod mapping;
mod names;
mod pointer;
mod problems;
mod push;
mod route;
mod subject;
mod units;

pub use activate::{Activate, Activated, HistoryItem};
pub use bundle::{Bundle, BundleFault};
pub use catalog::{Catalog, ModelSummary, RouteSummary};
pub use digest::{Digest, DigestFault};
pub use entry::{
    Artifact, Batch, EngineOptions, Entry, Grant, Lanes, Limits, Plugin, PluginKind, Provider, Role, entry_schema,
};
pub use fault::CatalogFault;
pub use follower::{Changes, FollowOptions, Follower, FollowerState};
pub use mapping::{Mapping, SubjectFilter};
pub use names::{ModelName, NameFault, RouteName, StreamName, StreamNameFault, VersionFault, parse_version};
pub use pointer::Pointer;
pub use problems::{Problem, Problems};
pub use push::{Progress, PushOptions, Pushed, Step};
pub use route::{Mode, Priority, PriorityFault, Route, Start, StartFault, StreamOptions};
pub use semver::Version;
pub use subject::{SubjectFault, covers, overlap};
pub use units::{ByteSize, Span, UnitFault};
