//! Crash evidence: which messages and versions were on a lane when a worker crashed.

pub mod history;
pub mod journal;
