//! Writes a frame into the caller's memory or into a new vector.

use super::{DataType, FRAME_HEADER, FrameFault, HEADER_ALIGNMENT, MAGIC, Shape, TENSOR_HEADER, Tensor, check};
use crate::{ALIGNMENT, limits::MAX_FRAME};
use alloc::{vec, vec::Vec};

/// Checks the tensors and returns the length of their frame.
pub fn encoded_len(tensors: &[Tensor<'_>]) -> Result<usize, FrameFault> {
    check::count(tensors.len())?;
    let mut len = FRAME_HEADER;
    for (index, tensor) in tensors.iter().enumerate() {
        check::rank(index, tensor.shape.rank())?;
        check::name_len(index, tensor.name.len())?;
        check::data_len(index, tensor.dtype, tensor.shape, tensor.data.len())?;
        check::content(index, tensor)?;
        check::name_is_new(index, tensor.name, tensors.iter().map(|earlier| earlier.name))?;
        len = end_of(len, tensor.name, tensor.shape, tensor.data.len())?;
    }
    Ok(len)
}

/// The end of a tensor with its header at `start`, including padding.
fn end_of(start: usize, name: &str, shape: Shape<'_>, data: usize) -> Result<usize, FrameFault> {
    // Rank and name are bounded, so only the data can overflow.
    let header = start + TENSOR_HEADER + shape.rank() * size_of::<u64>() + name.len();
    let end = header.checked_next_multiple_of(ALIGNMENT).and_then(|begin| begin.checked_add(data));
    let end = end.and_then(|end| end.checked_next_multiple_of(HEADER_ALIGNMENT));
    end.filter(|&end| end <= MAX_FRAME).ok_or(FrameFault::FrameTooLong)
}

/// Checks a tensor of numbers without its elements and returns the length of its frame.
pub fn blank_len(name: &str, dtype: DataType, shape: Shape<'_>) -> Result<usize, FrameFault> {
    check::rank(0, shape.rank())?;
    check::name_len(0, name.len())?;
    end_of(FRAME_HEADER, name, shape, check::numbers_len(0, dtype, shape)?)
}

/// Writes the frame of one tensor of numbers into `out`, except for its elements.
///
/// `out` must have exactly [`blank_len`] bytes. Returns the space for the elements, with its previous content.
pub fn blank_into<'o>(
    name: &str,
    dtype: DataType,
    shape: Shape<'_>,
    out: &'o mut [u8],
) -> Result<&'o mut [u8], FrameFault> {
    let expected = blank_len(name, dtype, shape)?;
    if out.len() != expected {
        return Err(FrameFault::WrongBufferLength { expected, found: out.len() });
    }
    let data = check::numbers_len(0, dtype, shape)?;
    let mut writer = Writer { rest: out, at: 0 };
    writer.frame_header(1)?;
    writer.tensor_header(name, dtype, shape, data)?;
    let place = writer.leave(data)?;
    writer.pad(HEADER_ALIGNMENT)?;
    Ok(place)
}

/// Writes the frame into `out`, of exactly [`encoded_len`] bytes.
pub fn encode_into(tensors: &[Tensor<'_>], out: &mut [u8]) -> Result<(), FrameFault> {
    let expected = encoded_len(tensors)?;
    if out.len() != expected {
        return Err(FrameFault::WrongBufferLength { expected, found: out.len() });
    }
    write(tensors, out)
}

/// Writes the frame into a new vector.
pub fn encode(tensors: &[Tensor<'_>]) -> Result<Vec<u8>, FrameFault> {
    let mut out = vec![0; encoded_len(tensors)?];
    write(tensors, &mut out)?;
    Ok(out)
}

/// Tensors and length are already checked, so the narrowing casts below are lossless.
fn write(tensors: &[Tensor<'_>], out: &mut [u8]) -> Result<(), FrameFault> {
    let mut writer = Writer { rest: out, at: 0 };
    writer.frame_header(tensors.len())?;
    for tensor in tensors {
        writer.tensor_header(tensor.name, tensor.dtype, tensor.shape, tensor.data.len())?;
        writer.put(tensor.data)?;
        writer.pad(HEADER_ALIGNMENT)?;
    }
    Ok(())
}

struct Writer<'o> {
    rest: &'o mut [u8],
    at: usize,
}

impl<'o> Writer<'o> {
    fn frame_header(&mut self, tensors: usize) -> Result<(), FrameFault> {
        self.put(&MAGIC)?;
        self.put(&(tensors as u32).to_le_bytes())
    }

    fn tensor_header(&mut self, name: &str, dtype: DataType, shape: Shape<'_>, data: usize) -> Result<(), FrameFault> {
        self.put(&[dtype as u8, shape.rank() as u8])?;
        self.put(&(name.len() as u16).to_le_bytes())?;
        self.put(&(data as u32).to_le_bytes())?;
        for dimension in shape.iter() {
            self.put(&dimension.to_le_bytes())?;
        }
        self.put(name.as_bytes())?;
        self.pad(ALIGNMENT)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), FrameFault> {
        self.leave(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Skips `len` bytes and returns them for the caller to write.
    fn leave(&mut self, len: usize) -> Result<&'o mut [u8], FrameFault> {
        let found = self.at + self.rest.len();
        let too_short = FrameFault::WrongBufferLength { expected: self.at + len, found };
        let place = self.rest.split_off_mut(..len).ok_or(too_short)?;
        self.at += len;
        Ok(place)
    }

    fn pad(&mut self, alignment: usize) -> Result<(), FrameFault> {
        let zeros = [0; ALIGNMENT];
        let missing = self.at.next_multiple_of(alignment) - self.at;
        self.put(zeros.get(..missing).unwrap_or_default())
    }
}
