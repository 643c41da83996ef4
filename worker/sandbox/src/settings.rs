//! The Wasmtime settings that define machine code, shared by inspection, compiler and engine.

use std::num::NonZeroUsize;

use wasmtime::Config;
use wasmtime::wasmparser::WasmFeatures;

use crate::limits;

/// The WebAssembly features of plugins, for inspection and compilation.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST);

/// Every setting with an effect on machine code.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config.wasm_features(!FEATURES, false);
    config.wasm_features(FEATURES, true);
    // Fuel counts instructions exactly but slows every loop. Entries limit time instead.
    config.epoch_interruption(true);
    config.max_wasm_stack(limits::STACK);
    // NaNs keep the processor's bits. They hold no secrets, and canonical NaNs slow down floats.
    config.cranelift_nan_canonicalization(false);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(limits::TRAP_FRAMES));
    config.native_unwind_info(false);
    config.memory_reservation(limits::RESERVATION);
    config.memory_guard_size(limits::GUARD);
    config
}
