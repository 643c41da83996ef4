//! What must hold for any bytes at all; asked by the fuzz targets and by the replay of their corpus.

mod call;
mod module;
#[cfg(test)]
mod tests;

pub use call::{GUEST, Guest};
pub use module::module;
