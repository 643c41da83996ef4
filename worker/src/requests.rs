//! Requests: a core NATS message comes in, one reply goes out.

pub mod admission;
pub mod reply;
pub mod subscriptions;
pub mod waiting_room;
