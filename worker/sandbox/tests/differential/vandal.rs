//! A module with programs as its messages: each step destroys a part of the module's state, and the answer is all of
//! the state afterwards.

/// One step of a message: the operation, its address, its value.
pub(crate) type Step = (u8, u32, u64);

/// Steps undone by a rewind. `$at` is within memory, down to its last bytes.
pub(crate) const STEPS: [&str; 14] = [
    "(i64.store (local.get $at) (local.get $value))",
    "(memory.fill (local.get $at) (i32.wrap_i64 (local.get $value)) (i32.const 16))",
    "(memory.copy (local.get $at) (i32.const 4096) (i32.const 16))",
    // Over many pages, and often over the end.
    "(memory.fill (local.get $at) (i32.wrap_i64 (local.get $value)) \
     (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 0x3ffff)))",
    "(memory.copy (local.get $at) (i32.const 2000) (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 0xffff)))",
    "(memory.init $passive (local.get $at) (i32.const 0) (i32.const 7))",
    "(global.set $int (i32.wrap_i64 (local.get $value)))",
    "(global.set $long (local.get $value))",
    "(global.set $float (f32.reinterpret_i32 (i32.wrap_i64 (local.get $value))))",
    "(global.set $double (f64.reinterpret_i64 (local.get $value)))",
    "(global.set $vector (i64x2.splat (local.get $value)))",
    "(drop (memory.grow (i32.and (i32.wrap_i64 (local.get $value)) (i32.const 1))))",
    "(if (i64.eqz (i64.and (local.get $value) (i64.const 3))) (then unreachable))",
    // The top bit marks an error: this is the plugin's own refusal.
    "(if (i64.eqz (i64.and (local.get $value) (i64.const 3))) (then (return (i64.const 0x8000100000000008))))",
];

/// Steps not undone by a rewind, each with the instruction to find.
pub(crate) const LASTING: [(&str, &str); 8] = [
    ("table.set", "(table.set $table (i32.and (local.get $at) (i32.const 3)) (ref.null func))"),
    ("table.grow", "(drop (table.grow $table (ref.func $five) (i32.and (local.get $at) (i32.const 1))))"),
    ("table.fill", "(table.fill $table (i32.const 1) (ref.func $five) (i32.and (local.get $at) (i32.const 3)))"),
    ("table.copy", "(table.copy $table $table (i32.and (local.get $at) (i32.const 3)) (i32.const 2) (i32.const 1))"),
    ("table.init", "(table.init $table $slots (i32.and (local.get $at) (i32.const 3)) (i32.const 0) (i32.const 1))"),
    ("data.drop", "(data.drop $passive)"),
    ("elem.drop", "(elem.drop $slots)"),
    ("reference", "(global.set $reference (ref.func $five))"),
];

/// A module with these steps as well, and with `pages` pages of memory after `init`. A message's step is taken modulo
/// the number of steps.
pub(crate) fn module(extra: &[&str], pages: usize) -> String {
    let steps = STEPS.iter().chain(extra).enumerate();
    let count = STEPS.len() + extra.len();
    let chain: String = steps
        .map(|(number, step)| format!("(if (i32.eq (local.get $step) (i32.const {number})) (then {step}))\n"))
        .collect();
    // Only a written global may be mutable, or no module would be rewound.
    let mutable = extra.iter().any(|step| step.contains("$reference"));
    let reference = if mutable { "(mut funcref)" } else { "funcref" };
    let elements = if extra.iter().any(|step| step.contains("$slots")) {
        "(table.init $table $slots (i32.const 3) (i32.const 0) (i32.const 1))"
    } else {
        ""
    };
    let declarations = declarations(reference, pages + 3);
    let init = init(pages - 1);
    let transform = transform(count, &chain, elements);
    format!("(module\n{declarations}{init}{transform})")
}

fn declarations(reference: &str, most: usize) -> String {
    format!(
        r#"  (memory (export "memory") 1 {most})
  (table $table 4 10 funcref)
  (global $int (mut i32) (i32.const 7))
  (global $long (export "long") (mut i64) (i64.const 8))
  (global $float (mut f32) (f32.const 9.5))
  (global $double (mut f64) (f64.const 10.5))
  (global $vector (mut v128) (v128.const i64x2 5 6))
  (global $reference {reference} (ref.null func))
  (global $constant i32 (i32.const 11))
  (data $passive "passive")
  (data (i32.const 60000) "active")
  (elem $slots func $five)
  (elem (table $table) (i32.const 2) func $five)
  (func $five (result i32) i32.const 5)
  (func (export "alloc") (param i32) (result i32) i32.const 16)
"#
    )
}

fn init(grown: usize) -> String {
    format!(
        r#"  (func (export "init") (param i32 i32) (result i32)
    (drop (memory.grow (i32.const {grown})))
    (i64.store (i32.const 70000) (i64.const -1))
    (memory.fill (i32.const 4096) (i32.const 0xa5) (i32.const 5000))
    (global.set $long (i64.const 0x1122334455667788))
    (global.set $float (f32.const nan:0x200001))
    i32.const 0)
"#
    )
}

fn transform(count: usize, chain: &str, elements: &str) -> String {
    format!(
        r#"  (func (export "transform") (param $next i32) (param $len i32) (result i64)
    (local $end i32) (local $step i32) (local $at i32) (local $value i64)
    (local.set $end (i32.add (local.get $next) (local.get $len)))
    (block $done (loop $more
      (br_if $done (i32.ge_u (local.get $next) (local.get $end)))
      (local.set $step (i32.rem_u (i32.load8_u (local.get $next)) (i32.const {count})))
      (local.set $at (i32.rem_u (i32.load offset=1 (local.get $next))
                                (i32.sub (i32.mul (memory.size) (i32.const 65536)) (i32.const 15))))
      (local.set $value (i64.load offset=5 (local.get $next)))
      (local.set $next (i32.add (local.get $next) (i32.const 13)))
      {chain}
      (br $more)))
    (i32.store (i32.const 1024) (global.get $int))
    (i64.store (i32.const 1032) (global.get $long))
    (f32.store (i32.const 1040) (global.get $float))
    (f64.store (i32.const 1048) (global.get $double))
    (v128.store (i32.const 1056) (global.get $vector))
    (i32.store (i32.const 1072) (ref.is_null (global.get $reference)))
    (i32.store (i32.const 1076) (table.size $table))
    (i32.store8 (i32.const 1080) (ref.is_null (table.get $table (i32.const 0))))
    (i32.store8 (i32.const 1081) (ref.is_null (table.get $table (i32.const 1))))
    (i32.store8 (i32.const 1082) (ref.is_null (table.get $table (i32.const 2))))
    (i32.store8 (i32.const 1083) (ref.is_null (table.get $table (i32.const 3))))
    (memory.init $passive (i32.const 1088) (i32.const 0) (i32.const 7))
    {elements}
    ;; The answer is the whole memory, including its size.
    (i64.extend_i32_u (i32.mul (memory.size) (i32.const 65536))))"#
    )
}

pub(crate) fn message(steps: &[Step]) -> Vec<u8> {
    let bytes = |&(step, at, value): &Step| [&[step][..], &at.to_le_bytes(), &value.to_le_bytes()].concat();
    steps.iter().flat_map(bytes).collect()
}
