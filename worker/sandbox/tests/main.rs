//! The sandbox: its contract, hostile modules, statelessness, the compiler process and the cache.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod arbitrary;
mod cache;
mod compile;
mod contract;
mod differential;
mod hostile;
mod stateless;
mod strategy;
mod support;
