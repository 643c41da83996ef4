//! A typed tensor, for an author's computations.

use crate::{Element, TensorView};

/// A named tensor that owns its elements, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T> {
    pub name: String,
    pub shape: Vec<u64>,
    pub elements: Vec<T>,
}

impl<T: Element> Tensor<T> {
    /// The shape must match the number of elements, or the message is rejected.
    pub fn new(name: impl Into<String>, shape: impl Into<Vec<u64>>, elements: impl Into<Vec<T>>) -> Self {
        Self { name: name.into(), shape: shape.into(), elements: elements.into() }
    }
}

impl<T: Element> TryFrom<TensorView<'_>> for Tensor<T> {
    type Error = String;

    fn try_from(view: TensorView<'_>) -> Result<Self, String> {
        if view.dtype != T::DTYPE {
            return Err(format!("tensor `{}` is {}, expected {}", view.name, view.dtype, T::DTYPE));
        }
        Ok(Self::new(view.name, view.shape.iter().collect::<Vec<_>>(), T::from_data(view.data)))
    }
}
