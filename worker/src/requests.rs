//! Requests: a core NATS message comes in, one reply goes out.
//!
//! `subscriptions.rs` receives, `admission.rs` accepts or refuses, `waiting_room.rs` and `resume.rs` serve models that are
//! not loaded, `reply.rs` answers.

pub mod admission;
pub mod reply;
pub mod resume;
pub mod subscriptions;
mod waiting_room;
