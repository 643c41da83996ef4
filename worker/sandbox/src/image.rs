//! What `init` left: the bytes of memory and the values of globals that every message of a rewound plugin starts from.
//!
//! Promises: after [`Image::put_back`] said yes, memory holds the image and nothing else, to its last byte.

use wasmtime::Val;

use crate::limits::REWIND_CHUNK;

/// Taken once per plugin and shared by its lanes.
pub(crate) struct Image {
    /// Memory in pieces of [`REWIND_CHUNK`] bytes; nothing is kept of one that is all zeroes.
    chunks: Box<[Option<Box<[u8]>>]>,
    bytes: usize,
    globals: Box<[Val]>,
}

const ZEROES: &[u8] = &[0; REWIND_CHUNK];

impl Image {
    pub(crate) fn of(memory: &[u8], globals: Box<[Val]>) -> Self {
        let keep = |chunk: &[u8]| (!ZEROES.starts_with(chunk)).then(|| chunk.into());
        Self { chunks: memory.chunks(REWIND_CHUNK).map(keep).collect(), bytes: memory.len(), globals }
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn globals(&self) -> &[Val] {
        &self.globals
    }

    /// Makes memory what it was, or says no where it is not as long as it was.
    ///
    /// Most chunks were not written to. Reading is half the price of writing, and leaves a page that nobody wrote
    /// to without memory of its own.
    pub(crate) fn put_back(&self, memory: &mut [u8]) -> bool {
        if memory.len() != self.bytes {
            return false;
        }
        for (now, then) in memory.chunks_mut(REWIND_CHUNK).zip(&self.chunks) {
            match then {
                Some(then) if *now != **then => now.copy_from_slice(then),
                None if !ZEROES.starts_with(now) => now.fill(0),
                _ => {}
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory whose last chunk is shorter than the others.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 5 * REWIND_CHUNK + 100];
        memory[REWIND_CHUNK + 7] = 1;
        memory[5 * REWIND_CHUNK + 99] = 2;
        memory
    }

    #[test]
    fn every_byte_is_put_back() {
        let image = Image::of(&memory(), Box::default());
        for at in 0..memory().len() {
            let mut changed = memory();
            changed[at] ^= 0xff;
            assert!(image.put_back(&mut changed));
            assert!(changed == memory(), "byte {at}");
        }
        let mut all = vec![0xff; memory().len()];
        assert!(image.put_back(&mut all));
        assert!(all == memory());
    }

    #[test]
    fn another_length_is_refused() {
        let image = Image::of(&memory(), Box::default());
        assert!(!image.put_back(&mut vec![0; memory().len() + 1]));
        assert!(!image.put_back(&mut []));
    }
}
