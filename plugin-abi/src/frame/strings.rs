//! The data of a string tensor: each string as its length (u32, little endian) and its UTF-8 bytes.

use alloc::vec::Vec;

/// The strings of a string tensor's data, in order.
///
/// It ends early at a string that is truncated or not UTF-8. A decoded frame does not contain such strings.
#[must_use]
pub const fn strings(data: &[u8]) -> Strings<'_> {
    Strings { rest: data }
}

/// Iterator over the strings of a string tensor.
#[derive(Debug, Clone)]
pub struct Strings<'a> {
    rest: &'a [u8],
}

impl Strings<'_> {
    /// Whether no bytes are left. After the end of the iterator, `false` means broken bytes.
    pub(super) const fn is_exhausted(&self) -> bool {
        self.rest.is_empty()
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let (len, rest) = self.rest.split_first_chunk()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (text, rest) = rest.split_at_checked(len)?;
        let text = core::str::from_utf8(text).ok()?;
        self.rest = rest;
        Some(text)
    }
}

/// The data of a string tensor with these elements.
pub fn encode_strings<S: AsRef<str>>(strings: impl IntoIterator<Item = S>) -> Vec<u8> {
    let mut data = Vec::new();
    for text in strings {
        let bytes = text.as_ref().as_bytes();
        // A string above 4 GiB does not fit any frame. Its data then reads as truncated, and `encode` rejects it.
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        data.extend_from_slice(&len.to_le_bytes());
        data.extend_from_slice(bytes);
    }
    data
}
