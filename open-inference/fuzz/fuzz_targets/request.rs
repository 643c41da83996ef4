//! Feeds any bytes to the decoder of every form and holds it to its promises. Run: `make fuzz`.
//! The first byte chooses: MessagePack, JSON, or so many bytes of JSON with binary data behind them.

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
