//! The rules for tensors in a frame, shared by the decoder and the encoder.

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

/// The data's length must match type and shape. Strings contain their own lengths.
pub(super) fn data_len(tensor: usize, dtype: DataType, shape: Shape<'_>, found: usize) -> Result<(), FrameFault> {
    let expected = numbers_bytes(tensor, dtype, shape)?;
    if dtype != DataType::String && expected != found as u64 {
        return Err(FrameFault::WrongDataLength { tensor, expected, found });
    }
    Ok(())
}

/// The length of the data of a tensor of numbers.
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

/// Checks the content of strings and bools: strings must be UTF-8, and most runtimes require bools of 0 or 1.
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
    // Bounded by the data instead of the shape: every string has at least four bytes.
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

/// Names must differ, or two tensors could match the same input.
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
