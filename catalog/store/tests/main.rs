//! The catalog on a real server: artifacts, the follower, push and activate.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod artifacts;
mod follower;
mod push;
mod support;
