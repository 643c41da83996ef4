//! Models: the loaded versions, their memory, and the version that serves.
//!
//! `resolver.rs` follows the catalog and keeps `registry.rs` equal to it. `loader.rs` creates a `bundle.rs`.
//! `budget.rs` bounds the memory of all bundles.

pub mod artifact_cache;
pub mod budget;
pub mod bundle;
pub(crate) mod host_memory;
pub mod loader;
pub(crate) mod notify_map;
pub mod registry;
pub mod resolver;
mod teardown;
pub(crate) mod trials;
mod work_queue;
