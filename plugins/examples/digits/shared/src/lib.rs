//! What every version of the digit plugins agrees on: the camera's format and the meaning of the model's answer.
//!
//! It must never depend on the SDK: it is plain arithmetic on bytes and numbers.

#![forbid(unsafe_code)]

mod camera;
mod crc;
mod scores;

pub use camera::{Image, ImageFault};
pub use crc::crc32;
pub use scores::{CLASSES, Guess, ScoresFault, ranked};

/// The model sees a square of this many cells a side.
pub const SIDE: usize = 8;
