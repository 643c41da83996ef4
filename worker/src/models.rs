//! Models: which versions are loaded, in which memory, and which one serves.

pub mod artifact_cache;
pub mod budget;
pub mod bundle;
pub mod host_memory;
pub mod notify_map;
pub mod registry;
pub mod resolver;
pub mod teardown;
pub mod trials;
