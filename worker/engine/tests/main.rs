//! The engine: models run, bad models are rejected, stacks keep rows apart, and a trial process protects this one.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod common;
mod corpus;
mod faults;
mod run;
mod stack;
mod trial;
