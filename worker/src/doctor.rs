//! What of a deployment endangers its promises: facts are gathered without changing anything, and then judged.

pub mod facts;
pub mod finding;
pub mod gather;
pub mod judge;
pub mod library;
mod monitor;
pub mod permissions;
