//! The host's side of one live instance: its state, its clock, its two functions, and every way in which a call can fail.

pub(crate) mod clock;
pub(crate) mod emit;
pub(crate) mod fault;
pub(crate) mod functions;
pub(crate) mod log;
pub(crate) mod state;
pub(crate) mod topic;
