//! The guarantees for arbitrary bytes, checked by the fuzz target, the property tests and the replay of the corpus.

use super::{Frame, Tensor, encode};
use crate::ALIGNMENT;
use alloc::vec::Vec;

/// Panics if decoding these bytes violates a guarantee of this module. Returns whether they are a frame.
pub fn oracle(bytes: &[u8]) -> bool {
    let Ok(frame) = Frame::decode(bytes) else {
        return false;
    };
    let tensors: Vec<Tensor<'_>> = frame.tensors().collect();
    assert_eq!(tensors.len(), frame.len(), "iteration yields every tensor");
    assert_eq!(encode(&tensors).as_deref(), Ok(bytes), "one encoding per content");
    for tensor in &tensors {
        let offset = tensor.data.as_ptr().addr() - bytes.as_ptr().addr();
        assert!(offset.is_multiple_of(ALIGNMENT), "data is aligned from the frame's start");
        assert_eq!(frame.get(tensor.name), Some(*tensor), "a name finds its own tensor");
    }
    true
}
