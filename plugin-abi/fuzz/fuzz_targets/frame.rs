//! Fuzzes the frame's decoder and checks its guarantees. Run: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inferbus_abi::frame::oracle(bytes);
});
