//! Modules of random bytes, wrapped into the contract. A message selects one of the module's functions and its
//! arguments; the answer is all of memory, with every global written into it.

use std::fmt::Write;

use arbitrary::Unstructured;
use inferbus_testkit::random::Random;
use wasm_smith::Config;
use wasmtime::wasmparser::{CompositeInnerType, Parser, Payload, ValType};

pub(crate) const SEEDS: u64 = 600;

/// Branches, loops and calls until a call of a generated function is stopped.
const FUEL: u32 = 1000;
const PAGE: u64 = 64 << 10;

fn random(seed: u64, len: usize) -> Vec<u8> {
    Random::new(seed).bytes(len)
}

pub(crate) fn messages(seed: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..24).map(move |number| random(seed << 32 | number, 64))
}

/// `None` if the bytes do not make a module with a function and a page of memory.
pub(crate) fn module(seed: u64) -> Option<String> {
    let mut smith = wasm_smith::Module::new(config(), &mut Unstructured::new(&random(seed, 8192))).ok()?;
    smith.ensure_termination(FUEL).ok()?;
    let wasm = smith.to_bytes();
    let shape = Shape::of(&wasm);
    if shape.pages == 0 || shape.functions.is_empty() {
        return None;
    }
    let text = wasmprinter::print_bytes(&wasm).ok()?;
    let open = text.trim_end().strip_suffix(')')?;
    Some(format!("{open}{})", shape.contract(seed.is_multiple_of(2))))
}

fn config() -> Config {
    Config {
        bulk_memory_enabled: true,
        disallow_traps: true,
        exceptions_enabled: false,
        gc_enabled: false,
        max_exports: 0,
        max_imports: 0,
        max_memory32_bytes: 6 * PAGE,
        max_table_elements: 100,
        memory64_enabled: false,
        memory_max_size_required: true,
        min_funcs: 2,
        max_funcs: 12,
        min_globals: 3,
        max_globals: 20,
        min_memories: 1,
        min_types: 3,
        // Most modules would use externref, forbidden for plugins.
        reference_types_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        threads_enabled: false,
        ..Config::default()
    }
}

#[derive(Default)]
struct Shape {
    pages: u64,
    types: Vec<(Vec<ValType>, Vec<ValType>)>,
    functions: Vec<u32>,
    globals: Vec<ValType>,
}

impl Shape {
    fn of(wasm: &[u8]) -> Self {
        let mut shape = Self::default();
        for payload in Parser::new(0).parse_all(wasm) {
            match payload.unwrap() {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group.unwrap().types() {
                            let CompositeInnerType::Func(ty) = &ty.composite_type.inner else { unreachable!() };
                            shape.types.push((ty.params().to_vec(), ty.results().to_vec()));
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    shape.functions = section.into_iter().map(Result::unwrap).collect()
                }
                Payload::MemorySection(section) => shape.pages = section.into_iter().next().unwrap().unwrap().initial,
                Payload::GlobalSection(section) => {
                    shape.globals = section.into_iter().map(|global| global.unwrap().ty.content_type).collect();
                }
                _ => {}
            }
        }
        shape
    }

    /// The contract around the generated functions. `init` may run the first of them, and often traps.
    fn contract(&self, init_runs: bool) -> String {
        let mut calls = String::new();
        let mut dump = String::new();
        for number in 0..self.functions.len() {
            let chosen = format!("(i32.rem_u (i32.load8_u (local.get $ptr)) (i32.const {}))", self.functions.len());
            let call = self.call(number);
            writeln!(calls, "(if (i32.eq {chosen} (i32.const {number})) (then {call} br $done))").unwrap();
        }
        for (number, ty) in self.globals.iter().enumerate() {
            let at = 1024 + 16 * number;
            let value = format!("(global.get {number})");
            match ty {
                ValType::Ref(_) => writeln!(dump, "(i32.store (i32.const {at}) (ref.is_null {value}))"),
                number => writeln!(dump, "({number}.store (i32.const {at}) {value})"),
            }
            .unwrap();
        }
        let init = if init_runs { self.call(0) } else { String::new() };
        format!(
            r#"
  (export "memory" (memory 0))
  (func (export "alloc") (param i32) (result i32) i32.const 16)
  (func (export "init") (param $ptr i32) (param i32) (result i32) {init} i32.const 0)
  (func (export "transform") (param $ptr i32) (param i32) (result i64)
    (block $done {calls})
    {dump}
    (i64.extend_i32_u (i32.mul (memory.size) (i32.const 65536))))"#
        )
    }

    /// Calls one function with arguments from the message, and drops its results.
    fn call(&self, number: usize) -> String {
        let (params, results) = &self.types[self.functions[number] as usize];
        let mut text = String::new();
        for (at, param) in params.iter().enumerate() {
            match param {
                ValType::Ref(_) => text.push_str("(ref.null func) "),
                number => write!(text, "({number}.load offset={} (local.get $ptr)) ", 1 + at * 8).unwrap(),
            }
        }
        write!(text, "(call {number}) {}", "drop ".repeat(results.len())).unwrap();
        text
    }
}
