//! Finds risks to the guarantees of a deployment.
//!
//! `gather` collects facts through one connection without changing anything. `checks` turns them into findings.

pub mod checks;
pub mod facts;
pub mod finding;
pub mod gather;
pub mod library;
mod monitor;
pub mod permissions;
