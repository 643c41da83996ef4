//! The host's side of one live instance: state, clock, the two host functions, and the faults of calls.

pub(crate) mod clock;
pub(crate) mod emit;
pub(crate) mod fault;
pub(crate) mod functions;
pub(crate) mod log;
pub(crate) mod state;
pub(crate) mod topic;
