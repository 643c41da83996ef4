//! What must hold for any bytes at all; asked by the fuzz target and the property tests.

use inferbus_abi::frame::{Tensor, encode};

use crate::limits::MAX_DATA;
use crate::{Form, Request};

/// Panics if decoding these bytes breaks a promise of this crate. Says whether they were a request.
pub fn oracle(form: Form, bytes: &[u8]) -> bool {
    let Ok(request) = Request::decode(form, bytes) else {
        return false;
    };
    let tensors: Vec<Tensor<'_>> = request.tensors().collect();
    let len: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
    assert!(len <= MAX_DATA.max(bytes.len()) + bytes.len(), "what is decoded is bounded");
    assert!(encode(&tensors).is_ok(), "a request's tensors are tensors");
    // As an echo would answer it.
    if let Ok(response) = request.respond(&tensors, "echo", "1.0.0") {
        assert!(!response.bytes.is_empty(), "a response says something");
    }
    true
}
