//! The documents of the model catalog: entries, pointers, routes and bundle folders.
//!
//! Guarantees: a parsed document is valid and within the bounds in [`limits`]. A rejected document reports all of its
//! problems, each with its path. Equal documents have equal digests. The only I/O is reading a bundle folder.
//!
//! Prohibitions: no NATS client, no async runtime, no inference engine and no WebAssembly runtime.

#![forbid(unsafe_code)]

mod bundle_folder;
mod canonical;
mod digest;
mod entry;
mod entry_parse;
mod fields;
pub mod limits;
mod mapping;
mod names;
mod pointer;
mod problems;
mod route;
mod steps;
mod subject;
mod text;
mod units;

pub use bundle_folder::{Bundle, BundleFault};
pub use digest::{Digest, DigestFault, DigestHasher};
pub use entry::{
    Artifact, Batch, EngineOptions, Entry, Grant, Lanes, Limits, Plugin, PluginKind, Provider, entry_schema,
};
pub use mapping::{Mapping, SubjectFilter};
pub use names::{ModelName, NameFault, RouteName, StreamName, StreamNameFault, VersionFault, parse_version};
pub use pointer::Pointer;
pub use problems::{Problem, Problems};
pub use route::{Mode, Priority, PriorityFault, Route, Start, StartFault, StreamOptions};
pub use semver::Version;
pub use steps::{Role, Step, StepKind};
pub use subject::{SubjectFault, covers, overlap};
pub use units::{ByteSize, Span, UnitFault};
