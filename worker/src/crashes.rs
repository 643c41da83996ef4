//! Crash evidence: the messages and versions on a lane when a worker crashed.

mod file;
mod history;
pub(crate) mod journal;
