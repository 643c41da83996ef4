//! Inspects, plans and rewrites arbitrary bytes, and checks the guarantees. Run: `make fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    inferbus_sandbox::oracle::module(bytes);
});
