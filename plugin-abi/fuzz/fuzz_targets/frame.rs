//! Feeds any bytes to the frame's decoder and holds it to its promises. Run: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inferbus_abi::frame::oracle(bytes);
});
