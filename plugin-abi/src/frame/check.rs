//! The rules that hold for tensors in a frame, asked by the decoder and the encoder alike.

use super::{DataType, FrameFault, Shape, Tensor, strings};
use crate::limits::{MAX_DIMENSION, MAX_NAME, MAX_RANK, MAX_TENSORS};

pub(super) const fn count(count: usize) -> Result<(), FrameFault> {
    if count > MAX_TENSORS {
        return Err(FrameFault::TooManyTensors { count });
    }
    Ok(())
}

pub(super) const fn rank(tensor: usize, rank: usize) -> Result<(), FrameFault> {
    if rank > MAX_RANK {
        return Err(FrameFault::RankTooHigh { tensor, rank });
    }
    Ok(())
}

pub(super) const fn name_len(tensor: usize, len: usize) -> Result<(), FrameFault> {
    if len > MAX_NAME {
        return Err(FrameFault::NameTooLong { tensor, len });
    }
    Ok(())
}

/// The data's length must be what type and shape say; strings say their own.
pub(super) fn data_len(tensor: usize, dtype: DataType, shape: Shape<'_>, found: usize) -> Result<(), FrameFault> {
    let expected = numbers_bytes(tensor, dtype, shape)?;
    if dtype != DataType::String && expected != found as u64 {
        return Err(FrameFault::WrongDataLength { tensor, expected, found });
    }
    Ok(())
}

/// How long the data of a tensor that is not of strings is.
pub(super) fn numbers_len(tensor: usize, dtype: DataType, shape: Shape<'_>) -> Result<usize, FrameFault> {
    if dtype == DataType::String {
        return Err(FrameFault::BadStrings { tensor, element: 0 });
    }
    usize::try_from(numbers_bytes(tensor, dtype, shape)?).map_err(|_| FrameFault::FrameTooLong)
}

fn numbers_bytes(tensor: usize, dtype: DataType, shape: Shape<'_>) -> Result<u64, FrameFault> {
    if let Some(dimension) = shape.iter().find(|&dimension| dimension > MAX_DIMENSION) {
        return Err(FrameFault::DimensionTooLarge { tensor, dimension });
    }
    let too_many = FrameFault::TooManyElements { tensor };
    let elements = shape.elements().ok_or(too_many)?;
    let bits = elements.checked_mul(u64::from(dtype.bits())).ok_or(too_many)?;
    Ok(bits.div_ceil(8))
}

/// The two types whose bytes can be wrong: strings must be text, and a bool other than 0 or 1 is undefined in most runtimes.
pub(super) fn content(index: usize, tensor: &Tensor<'_>) -> Result<(), FrameFault> {
    match tensor.dtype {
        DataType::String => string_content(index, tensor),
        DataType::Bool => match tensor.data.iter().position(|&byte| byte > 1) {
            Some(element) => Err(FrameFault::BadBool {
                tensor: index,
                element,
                found: tensor.data.get(element).copied().unwrap_or_default(),
            }),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn string_content(index: usize, tensor: &Tensor<'_>) -> Result<(), FrameFault> {
    let elements = tensor.shape.elements().ok_or(FrameFault::TooManyElements { tensor: index })?;
    let mut read = strings(tensor.data);
    let mut element = 0;
    // Bounded by the data, whatever the shape claims: every string takes at least four bytes.
    while element < elements {
        if read.next().is_none() {
            return Err(FrameFault::BadStrings { tensor: index, element });
        }
        element += 1;
    }
    if !read.is_exhausted() {
        return Err(FrameFault::TooManyStrings { tensor: index, elements });
    }
    Ok(())
}

/// Names must differ, or a model's input could be meant by two tensors.
pub(super) fn name_is_new<'n>(
    tensor: usize,
    name: &str,
    earlier: impl Iterator<Item = &'n str>,
) -> Result<(), FrameFault> {
    match earlier.take(tensor).position(|other| other == name) {
        Some(earlier) => Err(FrameFault::SameName { tensor, earlier }),
        None => Ok(()),
    }
}
