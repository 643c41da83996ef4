//! Writing a frame, into memory that the caller owns or into a new vector.

use super::{FRAME_HEADER, FrameFault, HEADER_ALIGNMENT, MAGIC, TENSOR_HEADER, Tensor, check};
use crate::{ALIGNMENT, limits::MAX_FRAME};
use alloc::{vec, vec::Vec};

/// Checks the tensors and says how many bytes their frame takes.
pub fn encoded_len(tensors: &[Tensor<'_>]) -> Result<usize, FrameFault> {
    check::count(tensors.len())?;
    let mut len = FRAME_HEADER;
    for (index, tensor) in tensors.iter().enumerate() {
        check::rank(index, tensor.shape.rank())?;
        check::name_len(index, tensor.name.len())?;
        check::data_len(index, tensor.dtype, tensor.shape, tensor.data.len())?;
        check::content(index, tensor)?;
        check::name_is_new(index, tensor.name, tensors.iter().map(|earlier| earlier.name))?;
        len = end_of(len, tensor).filter(|&end| end <= MAX_FRAME).ok_or(FrameFault::FrameTooLong)?;
    }
    Ok(len)
}

/// Where a tensor whose header starts at `start` ends, its padding included.
fn end_of(start: usize, tensor: &Tensor<'_>) -> Option<usize> {
    // Rank and name are bounded, so only the data can overflow.
    let header = start + TENSOR_HEADER + tensor.shape.rank() * size_of::<u64>() + tensor.name.len();
    let data = header.checked_next_multiple_of(ALIGNMENT)?.checked_add(tensor.data.len())?;
    data.checked_next_multiple_of(HEADER_ALIGNMENT)
}

/// Writes the frame over the whole of `out`, which must have exactly [`encoded_len`] bytes.
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

/// Tensors and length are checked by now, so that every narrowing below fits its field.
fn write(tensors: &[Tensor<'_>], out: &mut [u8]) -> Result<(), FrameFault> {
    let mut writer = Writer { rest: out, at: 0 };
    writer.put(&MAGIC)?;
    writer.put(&(tensors.len() as u32).to_le_bytes())?;
    for tensor in tensors {
        writer.put(&[tensor.dtype as u8, tensor.shape.rank() as u8])?;
        writer.put(&(tensor.name.len() as u16).to_le_bytes())?;
        writer.put(&(tensor.data.len() as u32).to_le_bytes())?;
        for dimension in tensor.shape.iter() {
            writer.put(&dimension.to_le_bytes())?;
        }
        writer.put(tensor.name.as_bytes())?;
        writer.pad(ALIGNMENT)?;
        writer.put(tensor.data)?;
        writer.pad(HEADER_ALIGNMENT)?;
    }
    Ok(())
}

struct Writer<'o> {
    rest: &'o mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), FrameFault> {
        let found = self.at + self.rest.len();
        let too_short = FrameFault::WrongBufferLength { expected: self.at + bytes.len(), found };
        let place = self.rest.split_off_mut(..bytes.len()).ok_or(too_short)?;
        place.copy_from_slice(bytes);
        self.at += bytes.len();
        Ok(())
    }

    fn pad(&mut self, alignment: usize) -> Result<(), FrameFault> {
        let zeros = [0; ALIGNMENT];
        let missing = self.at.next_multiple_of(alignment) - self.at;
        self.put(zeros.get(..missing).unwrap_or_default())
    }
}
