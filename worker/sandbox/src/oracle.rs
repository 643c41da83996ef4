//! What must hold for any bytes at all; asked by the fuzz targets and by the replay of their corpus.

mod guest;
mod module;
#[cfg(test)]
mod tests;

pub use guest::{GUEST, Guest};
pub use module::module;
