//! Requests: a core NATS message comes in, one reply goes out.
//!
//! `subscriptions.rs` receives, `admission.rs` accepts or rejects, `waiting_room.rs` and `resume.rs` delay requests
//! until their model's load, `reply.rs` answers.

pub mod admission;
pub mod reply;
pub mod resume;
pub mod subscriptions;
mod waiting_room;
