//! Runs a new session once on zeros, so that the first message does not pay for lazy initialisation.

use inferbus_abi::frame::{DataType, Shape, Tensor};

use crate::limits::MAX_WARM_UP;
use crate::{Dim, Model, ModelFault, Port, Signature};

/// Runs a new session once. A model that rejects zeros, or with inputs of unknown size, stays cold without a fault.
pub fn warm_up(signature: &Signature, model: &mut dyn Model) {
    let _ = first_run(signature, model);
}

/// [`warm_up`] with the run's result. A model with inputs of unknown size does not run.
pub(crate) fn first_run(signature: &Signature, model: &mut dyn Model) -> Result<(), ModelFault> {
    let Some(inputs) = signature.inputs.iter().map(Zeros::of).collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let tensors: Vec<Tensor<'_>> = inputs.iter().map(Zeros::tensor).collect();
    model.run(&tensors, &mut |_| {})
}

struct Zeros<'p> {
    port: &'p Port,
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl<'p> Zeros<'p> {
    /// A symbolic dimension becomes one.
    fn of(port: &'p Port) -> Option<Self> {
        if port.dtype == DataType::String || port.shape.is_empty() {
            return None;
        }
        let shape: Vec<u64> = port.shape.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 }).collect();
        let bits = shape.iter().try_fold(u64::from(port.dtype.bits()), |bits, &size| bits.checked_mul(size))?;
        let bytes = usize::try_from(bits.div_ceil(8)).ok().filter(|bytes| *bytes <= MAX_WARM_UP)?;
        Some(Self { port, shape, data: vec![0; bytes] })
    }

    fn tensor(&self) -> Tensor<'_> {
        let shape = Shape::from(self.shape.as_slice());
        Tensor { name: &self.port.name, dtype: self.port.dtype, shape, data: &self.data }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(dtype: DataType, shape: Vec<Dim>) -> Port {
        Port { name: "x".into(), dtype, shape }
    }

    #[test]
    fn zeros_have_the_size_of_the_port() {
        let zeros = port(DataType::F32, vec![Dim::Symbolic("batch".into()), Dim::Fixed(64)]);
        let zeros = Zeros::of(&zeros).map(|zeros| (zeros.shape, zeros.data.len()));
        assert_eq!(zeros, Some((vec![1, 64], 256)));
    }

    #[test]
    fn inputs_of_unknown_or_excessive_size_stay_cold() {
        assert!(Zeros::of(&port(DataType::F32, Vec::new())).is_none());
        assert!(Zeros::of(&port(DataType::String, vec![Dim::Fixed(1)])).is_none());
        assert!(Zeros::of(&port(DataType::F32, vec![Dim::Fixed(1 << 62), Dim::Fixed(16)])).is_none());
        assert!(Zeros::of(&port(DataType::U8, vec![Dim::Fixed(MAX_WARM_UP as u64 + 1)])).is_none());
    }
}
