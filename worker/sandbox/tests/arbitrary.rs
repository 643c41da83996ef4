//! Any bytes as a module, and any numbers from it, end in a fault or a result, never in a panic.

use crate::support::{ALL, ECHO, NONE, call, load, patient, sandbox};
use inferbus_sandbox::{Bounds, Fault, LoadFault, Plugin, inspect, limits};
use proptest::prelude::*;

#[test]
fn bytes_that_are_no_module_are_named() {
    for bytes in [&b""[..], b"\0", b"\0asm", b"\0asm\x02\0\0\0", b"hello, world", &[0; 100]] {
        assert_eq!(inspect(bytes, ALL), Err(LoadFault::NotWasm), "{bytes:?}");
    }
    assert_eq!(inspect(b"\0asm\x01\0\0\0", ALL), Err(LoadFault::MissingExport { export: "memory" }));
}

#[test]
fn compiled_code_is_refused() {
    let wasm = wat::parse_str(ECHO).unwrap();
    let compiled = wasmtime::Engine::default().precompile_module(&wasm).unwrap();
    let loaded = Plugin::load(sandbox(), &compiled, ALL, Bounds::default(), b"");
    assert_eq!(loaded.err(), Some(LoadFault::MachineCode));
}

#[test]
fn what_would_take_long_to_compile_is_refused() {
    let huge = vec![0; limits::MODULE_BYTES + 1];
    assert_eq!(inspect(&huge, NONE), Err(LoadFault::ModuleTooLarge { bytes: huge.len() }));

    let many = format!("(module {})", "(func)".repeat(limits::FUNCTIONS as usize + 1));
    let many = wat::parse_str(&many).unwrap();
    let count = limits::FUNCTIONS + 1;
    assert_eq!(inspect(&many, NONE), Err(LoadFault::TooManyFunctions { count }));

    let long = format!("(module (func {}))", "nop ".repeat(limits::FUNCTION_BYTES));
    let long = wat::parse_str(&long).unwrap();
    assert!(matches!(inspect(&long, NONE), Err(LoadFault::FunctionTooLarge { .. })));
}

#[test]
fn every_truncation_of_a_module_is_a_fault() {
    let wasm = wat::parse_str(ECHO).unwrap();
    // Its last section only names functions, so a module without it is complete.
    let whole = (0..=wasm.len()).filter(|&len| inspect(&wasm[..len], NONE).is_ok()).count();
    assert!(whole <= 2, "{whole} prefixes were taken for plugins");
}

/// `alloc` answers the config with 1024 and every message with the first half of the config; `transform`
/// returns the second.
const ORACLE: &str = r#"(module
  (memory (export "memory") 1)
  (global $alloc (mut i32) (i32.const 1024))
  (global $packed (mut i64) (i64.const 0))
  (func (export "alloc") (param i32) (result i32) global.get $alloc)
  (func (export "init") (param $ptr i32) (param $len i32) (result i32)
    (global.set $alloc (i32.load (local.get $ptr)))
    (global.set $packed (i64.load offset=4 (local.get $ptr)))
    i32.const 0)
  (func (export "transform") (param i32 i32) (result i64) global.get $packed))"#;

/// Mostly numbers near the edges of a memory of one page, the likely places of mistakes.
fn edgy() -> impl Strategy<Value = u32> {
    prop_oneof![0..64_u32, 65_440..65_600_u32, 0x7fff_ff00..=0x8000_0100_u32, (u32::MAX - 64)..=u32::MAX, any::<u32>()]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mutated_module_is_refused_or_runs(
        at in any::<prop::sample::Index>(), byte: u8, second in any::<prop::sample::Index>(), other: u8,
    ) {
        let mut wasm = wat::parse_str(ORACLE).unwrap();
        *at.get_mut(&mut wasm) = byte;
        *second.get_mut(&mut wasm) = other;
        let bounds = Bounds { time: std::time::Duration::from_millis(20), ..patient() };
        if let Ok(plugin) = Plugin::load(sandbox(), &wasm, ALL, bounds, &[0; 12]) {
            let _ = call(&mut plugin.instance(), b"input");
        }
    }

    #[test]
    fn any_numbers_from_the_guest_are_checked(alloc in edgy(), high in edgy(), low in edgy(), len in 0..200_usize) {
        let config = [alloc.to_le_bytes(), low.to_le_bytes(), high.to_le_bytes()].concat();
        let plugin = load(ORACLE, NONE, &config).unwrap();
        let result = call(&mut plugin.instance(), &vec![1; len]);
        let inside = |ptr: u32, len: u64| u64::from(ptr) + len <= 65_536;
        let ptr = high & 0x7fff_ffff;
        if !inside(alloc, len as u64) || !alloc.is_multiple_of(16) || (alloc == 0 && len > 0) {
            prop_assert_eq!(result, Err(Fault::BadAlloc { len: len as u32, ptr: alloc }));
        } else if high == 0 && low == 0 {
            prop_assert_eq!(result.unwrap().output, None);
        } else if high >> 31 == 0 && low as usize > limits::OUTPUT {
            prop_assert_eq!(result, Err(Fault::OutputTooLarge { len: low, limit: limits::OUTPUT }));
        } else if !inside(ptr, u64::from(low)) {
            let bad = matches!(result, Err(Fault::BadPointer { .. }));
            prop_assert!(bad);
        } else if high >> 31 == 1 {
            let refused = matches!(result, Err(Fault::Refused(_)));
            prop_assert!(refused);
        } else {
            prop_assert_eq!(result.unwrap().output.unwrap().len(), low as usize);
        }
    }
}
