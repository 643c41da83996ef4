//! Feeds any bytes to the frame's decoder and holds it to its promises. Run: `cargo +nightly fuzz run frame`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inferbus_abi::frame::oracle(bytes);
});
