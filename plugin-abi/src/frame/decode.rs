//! Reads a frame in place.

use super::{DataType, FrameFault, HEADER_ALIGNMENT, MAGIC, Shape, Tensor, check};
use crate::ALIGNMENT;

/// A completely checked frame. Reading it does not copy.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    bytes: &'a [u8],
    count: usize,
    first: Reader<'a>,
}

impl<'a> Frame<'a> {
    /// Checks everything: structure, lengths, names, padding, strings, bools, and trailing bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameFault> {
        let mut reader = Reader { rest: bytes, at: 0 };
        let magic: &[u8; 4] = reader.chunk()?;
        if *magic != MAGIC {
            return Err(FrameFault::NotAFrame { found: *magic });
        }
        let count = u32::from_le_bytes(*reader.chunk()?) as usize;
        check::count(count)?;
        let frame = Self { bytes, count, first: reader };
        for index in 0..count {
            let tensor = reader.tensor(index)?;
            check::content(index, &tensor)?;
            check::name_is_new(index, tensor.name, frame.tensors().map(|earlier| earlier.name))?;
        }
        match reader.rest.len() {
            0 => Ok(frame),
            extra => Err(FrameFault::TrailingBytes { end: reader.at, extra }),
        }
    }

    /// The number of tensors.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tensors, in the frame's order.
    #[must_use]
    pub const fn tensors(&self) -> Tensors<'a> {
        Tensors { reader: self.first, next: 0, count: self.count }
    }

    /// The tensor with this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Tensor<'a>> {
        self.tensors().find(|tensor| tensor.name == name)
    }

    /// The frame's own bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// Iterator over a frame's tensors.
#[derive(Debug, Clone)]
pub struct Tensors<'a> {
    reader: Reader<'a>,
    next: usize,
    count: usize,
}

impl<'a> Iterator for Tensors<'a> {
    type Item = Tensor<'a>;

    fn next(&mut self) -> Option<Tensor<'a>> {
        if self.next == self.count {
            return None;
        }
        // `decode` reads every tensor first, so a fault can only end its search for equal names.
        let tensor = self.reader.tensor(self.next).ok()?;
        self.next += 1;
        Some(tensor)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Tensors<'_> {}

/// A position in the frame. Alignment is relative to the frame's start, not to its address in memory.
#[derive(Debug, Clone, Copy)]
struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FrameFault> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            let needed = len - self.rest.len();
            return Err(FrameFault::Truncated { at: self.at + self.rest.len(), needed });
        };
        self.rest = rest;
        self.at += len;
        Ok(taken)
    }

    fn chunk<const LEN: usize>(&mut self) -> Result<&'a [u8; LEN], FrameFault> {
        let at = self.at;
        let taken = self.take(LEN)?;
        taken.first_chunk().ok_or(FrameFault::Truncated { at, needed: LEN })
    }

    fn padding(&mut self, alignment: usize) -> Result<(), FrameFault> {
        let at = self.at;
        let padding = self.take(at.next_multiple_of(alignment) - at)?;
        match padding.iter().position(|&byte| byte != 0) {
            Some(offset) => Err(FrameFault::PaddingNotZero { at: at + offset }),
            None => Ok(()),
        }
    }

    /// Reads one tensor and checks it, except for the content of its data.
    fn tensor(&mut self, index: usize) -> Result<Tensor<'a>, FrameFault> {
        let [code, rank] = *self.chunk()?;
        let name_len = usize::from(u16::from_le_bytes(*self.chunk()?));
        let data_len = u32::from_le_bytes(*self.chunk()?) as usize;
        let dtype = DataType::from_u8(code).ok_or(FrameFault::UnknownDataType { tensor: index, code })?;
        check::rank(index, usize::from(rank))?;
        check::name_len(index, name_len)?;
        let (dimensions, _) = self.take(usize::from(rank) * size_of::<u64>())?.as_chunks();
        let shape = Shape::encoded(dimensions);
        check::data_len(index, dtype, shape, data_len)?;
        let name = core::str::from_utf8(self.take(name_len)?);
        let name = name.map_err(|_| FrameFault::NameNotUtf8 { tensor: index })?;
        self.padding(ALIGNMENT)?;
        let data = self.take(data_len)?;
        self.padding(HEADER_ALIGNMENT)?;
        Ok(Tensor { name, dtype, shape, data })
    }
}
