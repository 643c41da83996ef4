//! A borrowed view of one tensor.

use super::{DataType, Shape};

/// One tensor, borrowed: what a frame decodes to and what it is encoded from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// The model's name for it; may be empty where there is only one to choose.
    pub name: &'a str,
    pub dtype: DataType,
    pub shape: Shape<'a>,
    /// The elements in row-major order, little endian; for strings see [`strings`](super::strings).
    pub data: &'a [u8],
}
