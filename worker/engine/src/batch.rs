//! Runs several messages in one run of a model.

mod can_stack;
mod stack;

pub use can_stack::{NoStack, can_stack};
pub use stack::{Stack, Stacks};
