//! Writes the corpus of the fuzz targets: `cargo run -p inferbus-sandbox --example corpus`.

use std::error::Error;
use std::fs;
use std::path::Path;

use inferbus_testkit::hostile_modules;

/// The hostile modules with a distinct part of the format.
const MODULES: [&str; 24] = [
    "alloc_is_a_global",
    "alloc_overlapping",
    "component",
    "data_out_of_bounds",
    "emit_too_large",
    "imports_emit_wrong_signature",
    "imports_memory",
    "imports_table",
    "imports_wasi",
    "init_grows_over",
    "init_takes_nothing",
    "no_memory",
    "start_loops",
    "table_grows_over",
    "too_many_tables",
    "traps_conversion",
    "traps_in_a_coloured_name",
    "traps_signature",
    "uses_atomics",
    "uses_externref",
    "uses_gc",
    "uses_memory64",
    "uses_multi_memory",
    "zero_length",
];

/// Optional parts of a well-behaved module.
const FIELDS: [(&str, &str); 8] = [
    ("globals", r#"(global (mut i32) (i32.const 1)) (global (export "g") (mut v128) (v128.const i64x2 1 2))"#),
    ("reference", "(global (mut funcref) (ref.null func))"),
    ("constant", r#"(global $c i32 (i32.const 1)) (global (mut i32) (i32.add (global.get $c) (i32.const 1)))"#),
    ("private", r#"(global $g (mut i32) (i32.const 1)) (export "inferbus.rewind.0" (global $g))"#),
    ("segments", r#"(data $d "x") (func (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (data.drop $d))"#),
    (
        "elements",
        "(table 2 funcref) (elem (i32.const 0) func $f) (elem declare func $f) (func $f (drop (ref.func $f)))",
    ),
    ("simd", "(func (result v128) (f32x4.add (v128.const i64x2 0 0) (v128.const i64x2 0 0)))"),
    ("names", r#"(func $named (local $also i32)) (@custom "anything" "bytes")"#),
];

/// A step of the guest in src/oracle, with its numbers.
type Step = (u8, [u32; 4]);

const MESSAGES: [(&str, &[Step]); 22] = [
    ("nothing", &[]),
    ("log", &[(0, [2, 256, 22, 0])]),
    ("log-ansi", &[(0, [9, 279, 20, 0])]),
    ("log-beyond", &[(0, [2, 131_071, 2, 0])]),
    ("log-flood", &[(0, [2, 256, 22, 0]), (0, [1, 0, 90, 0]), (0, [1, 0, 0, 0]), (0, [1, 0, 1, 0]), (0, [1, 0, 1, 0])]),
    ("emit", &[(1, [256, 6, 0, 9])]),
    ("emit-bad-topic", &[(1, [263, 4, 0, 9])]),
    ("emit-system", &[(1, [270, 4, 0, 0])]),
    ("emit-wraps", &[(1, [256, 6, u32::MAX, 2])]),
    ("emit-many", &[(1, [256, 6, 0, 9]), (1, [256, 6, 0, 9]), (1, [256, 6, 0, 9]), (1, [256, 6, 0, 9])]),
    ("emit-much", &[(1, [256, 6, 0, 95])]),
    ("output", &[(2, [256, 22, 0, 0])]),
    ("output-empty", &[(2, [131_072, 0, 0, 0])]),
    ("output-beyond", &[(2, [131_072, 1, 0, 0])]),
    ("output-large", &[(5, [2, 0, 0, 0]), (2, [0, 196_609, 0, 0])]),
    ("refused", &[(2, [0x8000_0000 | 279, 21, 0, 0])]),
    ("refused-beyond", &[(2, [u32::MAX, u32::MAX, 0, 0])]),
    ("writes", &[(3, [2048, 9, 0, 0]), (3, [131_068, 7, 0, 0]), (4, [77, 0, 0, 0])]),
    ("writes-beyond", &[(3, [131_069, 7, 0, 0])]),
    ("grows", &[(5, [1, 0, 0, 0]), (3, [196_604, 7, 0, 0]), (7, [0; 4])]),
    ("grows-over", &[(5, [3, 0, 0, 0]), (3, [196_604, 7, 0, 0])]),
    ("copies", &[(6, [1024, 0, 131_000, 0]), (7, [0; 4])]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = here.join("fuzz/corpus");
    fs::create_dir_all(corpus.join("module"))?;
    fs::create_dir_all(corpus.join("call"))?;
    for name in MODULES {
        let wasm = wat::parse_file(hostile_modules::folder().join(name).with_extension("wat"))?;
        fs::write(corpus.join("module").join(name), wasm)?;
    }
    for (name, fields) in FIELDS {
        fs::write(corpus.join("module").join(name), wat::parse_str(good(fields))?)?;
    }
    for (name, steps) in MESSAGES {
        let bytes = |(step, with): &Step| [&[*step][..], &with.map(u32::to_le_bytes).concat()].concat();
        let message: Vec<u8> = steps.iter().flat_map(bytes).collect();
        fs::write(corpus.join("call").join(name), message)?;
    }
    Ok(())
}

fn good(fields: &str) -> String {
    format!(
        r#"(module (memory (export "memory") 1 2)
  (func (export "alloc") (param i32) (result i32) i32.const 16)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0) {fields})"#
    )
}
