//! A tensor's dimensions, borrowed from an encoded frame or from an array of numbers.

use core::fmt;

/// The dimensions of a tensor, outermost first. Without dimensions it is a scalar: one element.
#[derive(Clone, Copy)]
pub struct Shape<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    Encoded(&'a [[u8; 8]]),
    Numbers(&'a [u64]),
}

impl<'a> Shape<'a> {
    /// Dimensions in a frame: little endian, one after another.
    pub(super) const fn encoded(dimensions: &'a [[u8; 8]]) -> Self {
        Self(Source::Encoded(dimensions))
    }

    /// The number of dimensions.
    #[must_use]
    pub const fn rank(self) -> usize {
        match self.0 {
            Source::Encoded(dimensions) => dimensions.len(),
            Source::Numbers(dimensions) => dimensions.len(),
        }
    }

    /// The dimensions, outermost first.
    pub fn iter(self) -> impl Iterator<Item = u64> + Clone + 'a {
        let (encoded, numbers): (&[[u8; 8]], &[u64]) = match self.0 {
            Source::Encoded(dimensions) => (dimensions, &[]),
            Source::Numbers(dimensions) => (&[], dimensions),
        };
        let encoded = encoded.iter().map(|bytes| u64::from_le_bytes(*bytes));
        encoded.chain(numbers.iter().copied())
    }

    /// The number of elements; `None` if it exceeds 64 bits.
    #[must_use]
    pub fn elements(self) -> Option<u64> {
        // A zero empties the tensor, even beside huge dimensions.
        if self.iter().any(|dimension| dimension == 0) {
            return Some(0);
        }
        self.iter().try_fold(1, u64::checked_mul)
    }
}

impl<'a> From<&'a [u64]> for Shape<'a> {
    fn from(dimensions: &'a [u64]) -> Self {
        Self(Source::Numbers(dimensions))
    }
}

impl<'a, const RANK: usize> From<&'a [u64; RANK]> for Shape<'a> {
    fn from(dimensions: &'a [u64; RANK]) -> Self {
        Self(Source::Numbers(dimensions))
    }
}

impl PartialEq for Shape<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Shape<'_> {}

impl fmt::Debug for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// For example `[1, 64]`.
impl fmt::Display for Shape<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
