//! Routes of mode `stream`: every stored message ends in one result, "no result", or one dead letter.
//!
//! Follow one message: `feed.rs` asks for it, `intake.rs` has it in hand, a lane runs it, `settle.rs` stores what came of
//! it and then acknowledges it. `setup.rs` finds or makes what the route needs on the server, beside the path.

pub mod acks;
pub mod dead_letter;
pub mod delivery;
pub mod feed;
pub mod intake;
pub mod names;
pub mod objects;
pub mod places;
pub mod results;
pub mod settle;
pub mod setup;
pub mod store;
