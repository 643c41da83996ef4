//! Decides whether messages may share a run of a model, by its declaration and by a test run.
//!
//! Guarantees: it rejects a model if rows of made-up inputs change each other's results.
//! It must never reject a model for failing on made-up inputs.

use inferbus_abi::frame::{DataType, Shape, Tensor};

use super::stack::{Stacks, has_plain_rows};
use crate::limits::MAX_WARM_UP;
use crate::signature::Few;
use crate::{Dim, Model, Port, Signature};

/// Why messages cannot share a run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoStack {
    #[error("the model's {port:?} is {text}: its first dimension is fixed, so messages cannot share a run")]
    Fixed { port: String, text: String },
    #[error("the model's {port:?} is {dtype}: this type cannot be split by rows")]
    Type { port: String, dtype: DataType },
    #[error("the model does not have inputs")]
    NoInputs,
    #[error(
        "rows of one run change each other's {output:?}, so a message's result would depend on its neighbours; \
         serve the model without engine.batch"
    )]
    Mixes { output: String },
    #[error("two rows in one run do not produce two rows of {output:?}")]
    Rows { output: String },
}

/// Whether messages may share a run of the model.
pub fn can_stack(signature: &Signature, model: &mut dyn Model) -> Result<(), NoStack> {
    if signature.inputs.is_empty() {
        return Err(NoStack::NoInputs);
    }
    signature.inputs.iter().chain(&signature.outputs).try_for_each(declared)?;
    let Some(samples) = [1, 2].map(|seed| Sample::all(signature, seed)).into_iter().collect::<Option<Vec<_>>>() else {
        return Ok(());
    };
    let mut alone = Vec::new();
    for sample in &samples {
        let mut outputs = Vec::new();
        let tensors: Few<_> = sample.iter().map(Sample::tensor).collect();
        if model.run(&tensors, &mut |lent| outputs = lent.iter().map(Kept::of).collect()).is_err() {
            return Ok(());
        }
        alone.push(outputs);
    }
    compare_stacked(signature, model, &samples, &alone)
}

fn declared(port: &Port) -> Result<(), NoStack> {
    if !has_plain_rows(port.dtype) {
        return Err(NoStack::Type { port: port.name.clone(), dtype: port.dtype });
    }
    match port.shape.first() {
        Some(Dim::Fixed(_)) => Err(NoStack::Fixed { port: port.name.clone(), text: port.to_string() }),
        // Even the rank may be open.
        Some(Dim::Symbolic(_)) | None => Ok(()),
    }
}

/// Runs all samples in one stack and compares the outputs with those of the individual runs.
fn compare_stacked(
    signature: &Signature,
    model: &mut dyn Model,
    samples: &[Vec<Sample<'_>>],
    alone: &[Vec<Kept>],
) -> Result<(), NoStack> {
    let mut stacks = Stacks::new(signature, usize::MAX);
    for sample in samples {
        // Samples fit: they ran individually, and they have the same shape.
        let _ = stacks.push(&sample.iter().map(Sample::tensor).collect::<Few<_>>());
    }
    let mut verdict = Ok(());
    for (stack, _) in stacks.iter() {
        let ran = stacks.run(stack, model, &mut |member, outputs| {
            let expected = alone.get(member).map_or(&[][..], Vec::as_slice);
            let differing = outputs.iter().zip(expected).enumerate().find(|(at, (output, kept))| {
                let scale = alone.iter().filter_map(|outputs| outputs.get(*at)).map(|kept| kept.largest(output.dtype));
                !kept.is_like(output, scale.fold(0.0, f64::max))
            });
            if let (Ok(()), Some((_, (output, _)))) = (&verdict, differing) {
                verdict = Err(NoStack::Mixes { output: output.name.to_owned() });
            }
        });
        if ran.is_err() {
            let output = signature.outputs.first().map(|port| port.name.clone()).unwrap_or_default();
            verdict = Err(NoStack::Rows { output });
        }
    }
    verdict
}

/// A made-up input of one row.
struct Sample<'p> {
    port: &'p Port,
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl<'p> Sample<'p> {
    /// One sample per input; `None` if a size cannot be made up.
    fn all(signature: &'p Signature, seed: u64) -> Option<Vec<Self>> {
        signature.inputs.iter().map(|port| Self::of(port, seed)).collect()
    }

    fn of(port: &'p Port, seed: u64) -> Option<Self> {
        let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { 1 };
        let shape: Vec<u64> = port.shape.iter().map(size).collect();
        let elements = Shape::from(&*shape).elements().and_then(|count| usize::try_from(count).ok())?;
        let bytes = elements.checked_mul(port.dtype.bits() as usize / 8)?;
        if shape.is_empty() || bytes > MAX_WARM_UP {
            return None;
        }
        let mut state = seed;
        let data = (0..elements).flat_map(|_| element(port.dtype, &mut state)).collect();
        Some(Self { port, shape, data })
    }

    fn tensor(&self) -> Tensor<'_> {
        let shape = Shape::from(&*self.shape);
        Tensor { name: &self.port.name, dtype: self.port.dtype, shape, data: &self.data }
    }
}

/// Zero or one for integers, a valid index into any table; a number between them for floats.
fn element(dtype: DataType, state: &mut u64) -> Vec<u8> {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    let high = *state >> 33;
    let share = high as f32 / (1_u64 << 31) as f32;
    match dtype {
        DataType::F32 => share.to_le_bytes().to_vec(),
        DataType::F64 => f64::from(share).to_le_bytes().to_vec(),
        // 16-bit floats: the bits of 0.5 to 1.
        DataType::F16 => (0x3800 | (high & 0x3ff) as u16).to_le_bytes().to_vec(),
        DataType::Bf16 => (0x3f00 | (high & 0x7f) as u16).to_le_bytes().to_vec(),
        _ => {
            let mut bytes = vec![0; dtype.bits() as usize / 8];
            if let Some(first) = bytes.first_mut() {
                *first = (high & 1) as u8;
            }
            bytes
        }
    }
}

/// A copy of an output.
struct Kept {
    shape: Vec<u64>,
    data: Vec<u8>,
}

impl Kept {
    fn of(output: &Tensor<'_>) -> Self {
        Self { shape: output.shape.iter().collect(), data: output.data.to_vec() }
    }

    /// Whether the numbers are equal, except for the order of additions in a larger run. `scale` is their magnitude.
    fn is_like(&self, output: &Tensor<'_>, scale: f64) -> bool {
        // The influence of a neighbour is larger than this.
        const NEAR: f64 = 1e-3;
        // For 16-bit floats: their own steps are not much smaller.
        const NEAR_HALF: f64 = 2e-2;
        if !self.shape.iter().copied().eq(output.shape.iter()) || self.data.len() != output.data.len() {
            return false;
        }
        let near = match output.dtype {
            DataType::F32 | DataType::F64 => NEAR,
            DataType::F16 | DataType::Bf16 => NEAR_HALF,
            _ => return self.data == output.data,
        };
        let (own, others) = (numbers(output.dtype, &self.data), numbers(output.dtype, output.data));
        own.zip(others).all(|(a, b)| (a - b).abs() <= near * scale || a.is_nan() && b.is_nan() || a == b)
    }

    fn largest(&self, dtype: DataType) -> f64 {
        numbers(dtype, &self.data).map(f64::abs).filter(|number| number.is_finite()).fold(0.0, f64::max)
    }
}

/// The floats in a tensor; empty for other types.
fn numbers(dtype: DataType, data: &[u8]) -> Box<dyn Iterator<Item = f64> + '_> {
    let halves = || data.as_chunks().0.iter().map(|bytes| u16::from_le_bytes(*bytes));
    match dtype {
        DataType::F32 => Box::new(data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes).into())),
        DataType::F64 => Box::new(data.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes))),
        DataType::Bf16 => Box::new(halves().map(|bits| f32::from_bits(u32::from(bits) << 16).into())),
        DataType::F16 => Box::new(halves().map(half)),
        _ => Box::new(std::iter::empty()),
    }
}

fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff) / 1024.0);
    let size = match exponent {
        0 => fraction * 2_f64.powi(-14),
        31 if fraction > 0.0 => f64::NAN,
        31 => f64::INFINITY,
        exponent => (1.0 + fraction) * 2_f64.powi(exponent - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}
