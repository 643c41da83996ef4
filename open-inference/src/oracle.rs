//! The guarantees for arbitrary bytes, checked by the fuzz target and the property tests.

use inferbus_abi::frame::{Tensor, encode};

use crate::limits::MAX_DATA;
use crate::{Form, Request};

/// Panics if decoding these bytes violates a guarantee of this crate. Returns whether they are a request.
pub fn oracle(form: Form, bytes: &[u8]) -> bool {
    let Ok(request) = Request::decode(form, bytes) else {
        return false;
    };
    let tensors: Vec<Tensor<'_>> = request.tensors().collect();
    let len: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
    assert!(len <= MAX_DATA.max(bytes.len()) + bytes.len(), "decoded data is bounded");
    assert!(encode(&tensors).is_ok(), "a request's tensors are tensors");
    // Respond like an echo model.
    if let Ok(response) = request.respond(&tensors, "echo", "1.0.0") {
        assert!(!response.bytes.is_empty(), "a response is not empty");
    }
    true
}
