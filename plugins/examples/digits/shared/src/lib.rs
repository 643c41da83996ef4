//! The common code of all versions of the digit plugins: the camera's format and the meaning of the model's answer.
//!
//! It must never depend on the SDK.

#![forbid(unsafe_code)]

mod camera;
mod crc;
mod scores;

pub use camera::{Image, ImageFault};
pub use crc::crc32;
pub use scores::{CLASSES, Guess, ScoresFault, ranked};

/// The model's input is a square with this many cells per side.
pub const SIDE: usize = 8;
