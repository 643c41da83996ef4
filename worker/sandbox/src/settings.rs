//! The settings of Wasmtime that machine code depends on. Inspection, the compiler and the engine share them.

use std::num::NonZeroUsize;

use wasmtime::Config;
use wasmtime::wasmparser::WasmFeatures;

use crate::limits;

/// The WebAssembly that a plugin may be made of. Inspection and compilation go by this one list.
pub(crate) const FEATURES: WasmFeatures = WasmFeatures::MUTABLE_GLOBAL
    .union(WasmFeatures::SATURATING_FLOAT_TO_INT)
    .union(WasmFeatures::SIGN_EXTENSION)
    .union(WasmFeatures::REFERENCE_TYPES)
    .union(WasmFeatures::MULTI_VALUE)
    .union(WasmFeatures::BULK_MEMORY)
    .union(WasmFeatures::SIMD)
    .union(WasmFeatures::FLOATS)
    .union(WasmFeatures::EXTENDED_CONST);

/// Every setting that machine code depends on.
pub(crate) fn code_config() -> Config {
    let mut config = Config::new();
    config.wasm_features(!FEATURES, false);
    config.wasm_features(FEATURES, true);
    // Fuel would count instructions exactly, at a price on every loop; time is what the entry limits.
    config.epoch_interruption(true);
    config.max_wasm_stack(limits::STACK);
    // NaNs keep the bits that the processor gives them: nothing secret is in them, and making them canonical
    // slows floats.
    config.cranelift_nan_canonicalization(false);
    config.wasm_backtrace_max_frames(NonZeroUsize::new(limits::TRAP_FRAMES));
    config.native_unwind_info(false);
    config.memory_reservation(limits::RESERVATION);
    config.memory_guard_size(limits::GUARD);
    config
}
