//! A borrowed view of one tensor.

use super::{DataType, Shape};

/// One borrowed tensor, the input and output of the frame codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tensor<'a> {
    /// The name of the model's input or output. It may be empty if there is only one.
    pub name: &'a str,
    pub dtype: DataType,
    pub shape: Shape<'a>,
    /// The elements in row-major order, little endian; for strings see [`strings`](super::strings).
    pub data: &'a [u8],
}
