//! Requests: a core NATS message comes in, one reply goes out.
//!
//! `subscriptions.rs` receives, `admission.rs` accepts or rejects, `waiting_room.rs` and `resume.rs` delay requests
//! until their model's load, `reply.rs` answers.

pub(crate) mod admission;
pub(crate) mod reply;
pub(crate) mod resume;
pub(crate) mod subscriptions;
mod waiting_room;
