//! The state after `init`: the bytes of memory and the values of globals at the start of every message.
//!
//! Guarantees: after [`Image::restore`] the given ranges of memory equal the image.

use std::ops::Range;

use wasmtime::Val;

use crate::limits::REWIND_CHUNK;

/// Taken once per plugin, and shared by its lanes.
pub(crate) struct Image {
    /// Memory in chunks of [`REWIND_CHUNK`] bytes. `None` is a chunk of zeroes.
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

    /// Restores these ranges of memory, or all of it for `None`. The ranges are whole chunks.
    ///
    /// Equal chunks are not written, so untouched pages stay without physical memory.
    pub(crate) fn restore(&self, memory: &mut [u8], written: Option<&[Range<usize>]>) {
        let all = 0..self.bytes;
        for range in written.unwrap_or(std::slice::from_ref(&all)) {
            let chunks = self.chunks.iter().skip(range.start / REWIND_CHUNK);
            let now = memory.get_mut(range.clone()).unwrap_or_default();
            for (now, then) in now.chunks_mut(REWIND_CHUNK).zip(chunks) {
                match then {
                    Some(then) if *now != **then => now.copy_from_slice(then),
                    None if !ZEROES.starts_with(now) => now.fill(0),
                    _ => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A memory with a short last chunk.
    fn memory() -> Vec<u8> {
        let mut memory = vec![0; 5 * REWIND_CHUNK + 100];
        memory[REWIND_CHUNK + 7] = 1;
        memory[5 * REWIND_CHUNK + 99] = 2;
        memory
    }

    #[test]
    fn every_byte_is_restored() {
        let image = Image::of(&memory(), Box::default());
        for at in 0..memory().len() {
            let mut changed = memory();
            changed[at] ^= 0xff;
            image.restore(&mut changed, None);
            assert!(changed == memory(), "byte {at}");
        }
        let mut all = vec![0xff; memory().len()];
        image.restore(&mut all, None);
        assert!(all == memory());
    }

    #[test]
    fn other_ranges_stay_unchanged() {
        let image = Image::of(&memory(), Box::default());
        let mut all = vec![0xff; memory().len()];
        let written = [REWIND_CHUNK..2 * REWIND_CHUNK, 4 * REWIND_CHUNK..memory().len()];
        image.restore(&mut all, Some(&written));
        for (at, byte) in all.into_iter().enumerate() {
            let then = written.iter().any(|range| range.contains(&at)).then(|| memory()[at]);
            assert_eq!(byte, then.unwrap_or(0xff), "byte {at}");
        }
    }
}
