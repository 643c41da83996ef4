//! Everything that happens to a module before it is compiled.

pub(crate) mod examine;
pub(crate) mod inspect;
pub(crate) mod load_fault;
pub(crate) mod rewrite;
pub(crate) mod strategy;
