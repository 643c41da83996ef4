//! Takes any bytes for a module: inspection, planning and rewriting keep their promises. Run: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inferbus_sandbox::oracle::module(bytes);
});
