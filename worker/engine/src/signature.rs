//! A model's inputs and outputs, and the check that tensors fit them.
//!
//! The check runs before the runtime, so that a fault names the input, the expected and the actual type or shape.

use std::fmt;

use inferbus_abi::frame::{DataType, Tensor};
use smallvec::SmallVec;

use crate::ModelFault;

/// A list with an item per input or output. Up to four fit without an allocation, enough for most models.
pub(crate) type Few<T> = SmallVec<[T; 4]>;

/// A model's inputs and outputs, in the model's own order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    pub dtype: DataType,
    /// Empty for a scalar or an open rank. ONNX Runtime does not distinguish them, so an empty shape accepts any shape.
    pub shape: Vec<Dim>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    Fixed(u64),
    /// Decided in each run. The name may be empty.
    Symbolic(String),
}

impl Signature {
    /// The tensors in the order of the inputs, checked.
    pub(crate) fn order<'t, 'a>(&self, tensors: &'t [Tensor<'a>]) -> Result<Few<&'t Tensor<'a>>, ModelFault> {
        if let ([port], [tensor]) = (self.inputs.as_slice(), tensors)
            && tensor.name.is_empty()
        {
            port.check(tensor)?;
            return Ok(Few::from_iter([tensor]));
        }
        if let Some(unknown) = tensors.iter().find(|tensor| self.input(tensor.name).is_none()) {
            return Err(self.unknown(unknown.name));
        }
        let ordered = self.inputs.iter().map(|port| port.choose(tensors)).collect::<Result<Few<_>, _>>()?;
        // All names are known and every input has its tensor, so an extra tensor must repeat a name.
        if tensors.len() > ordered.len() {
            return Err(self.repeated(tensors));
        }
        Ok(ordered)
    }

    fn input(&self, name: &str) -> Option<&Port> {
        self.inputs.iter().find(|port| port.name == name)
    }

    fn unknown(&self, name: &str) -> ModelFault {
        let known: Vec<String> = self.inputs.iter().map(|port| format!("{:?}", port.name)).collect();
        ModelFault::UnknownInput { input: name.into(), known: known.join(", ") }
    }

    fn repeated(&self, tensors: &[Tensor<'_>]) -> ModelFault {
        let twice =
            self.inputs.iter().find(|port| tensors.iter().filter(|tensor| tensor.name == port.name).count() > 1);
        ModelFault::RepeatedInput { input: twice.map(|port| port.name.clone()).unwrap_or_default() }
    }
}

impl Port {
    fn choose<'t, 'a>(&self, tensors: &'t [Tensor<'a>]) -> Result<&'t Tensor<'a>, ModelFault> {
        let tensor = tensors
            .iter()
            .find(|tensor| tensor.name == self.name)
            .ok_or_else(|| ModelFault::MissingInput { input: self.name.clone() })?;
        self.check(tensor)?;
        Ok(tensor)
    }

    fn check(&self, tensor: &Tensor<'_>) -> Result<(), ModelFault> {
        if tensor.dtype != self.dtype {
            return Err(ModelFault::WrongType { input: self.name.clone(), expected: self.dtype, got: tensor.dtype });
        }
        if !self.takes(tensor) {
            return Err(ModelFault::WrongShape {
                input: self.name.clone(),
                expected: shape_text(&self.shape),
                got: tensor.shape.to_string(),
            });
        }
        Ok(())
    }

    fn takes(&self, tensor: &Tensor<'_>) -> bool {
        let fits = |(dim, got): (&Dim, u64)| match dim {
            Dim::Fixed(expected) => *expected == got,
            Dim::Symbolic(_) => true,
        };
        self.shape.is_empty()
            || self.shape.len() == tensor.shape.rank() && self.shape.iter().zip(tensor.shape.iter()).all(fits)
    }
}

/// `f32 [batch, 4]`.
impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.dtype, shape_text(&self.shape))
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(size) => write!(f, "{size}"),
            Self::Symbolic(name) if name.is_empty() => f.write_str("?"),
            Self::Symbolic(name) => f.write_str(name),
        }
    }
}

fn shape_text(shape: &[Dim]) -> String {
    let dims: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", dims.join(", "))
}
