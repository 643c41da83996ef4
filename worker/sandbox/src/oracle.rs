//! The invariants for arbitrary bytes, used by the fuzz targets and by the replay of their corpora.

mod guest;
mod module;
#[cfg(test)]
mod tests;

pub use guest::{GUEST, Guest};
pub use module::module;
