//! Streams' routes while workers, connections and servers fail: no message is lost, and no result comes twice.
//!
//! Each test has its own servers and workers, and mostly waits: many of them run at once.

mod alarms;
mod bumps;
mod harness;
mod kills;
mod network;
mod servers;
