//! The steps before compilation: checks, the choice of a strategy, and the rewriting of the module.

pub(crate) mod examine;
pub(crate) mod inspect;
pub(crate) mod load_fault;
pub(crate) mod rewrite;
pub(crate) mod strategy;
