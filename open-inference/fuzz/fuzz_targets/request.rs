//! Fuzzes the decoder of every form and checks its guarantees. Run: `make fuzz`.
//! The first byte selects MessagePack, JSON, or the number of JSON bytes before binary data.

#![no_main]

use inferbus_open_inference::{Form, oracle};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&first, rest)) = bytes.split_first() else { return };
    let form = match first {
        0 => Form::MessagePack,
        b'j' => Form::Json { header_len: None },
        len => Form::Json { header_len: Some(usize::from(len)) },
    };
    oracle(form, rest);
});
