//! The hostile modules: each with its grants and its exact outcome, for tests of the sandbox and of workers.

use std::path::{Path, PathBuf};
use std::time::Duration;

use Expected::{Call, Invalid, Load, Served};
use inferbus_sandbox::{Bounds, Emit, Fault, Grants, LoadFault, LogLevel, TrapKind, limits};

#[derive(Debug)]
pub enum Expected {
    Load(LoadFault),
    /// The validator's text must contain this.
    Invalid(&'static str),
    Call(Fault),
    Served(Reply),
}

/// The reply of a hostile plugin within its rights.
#[derive(Debug)]
pub struct Reply {
    pub output: Option<Vec<u8>>,
    pub emits: Vec<Emit>,
    pub log: Vec<(LogLevel, String)>,
}

pub struct Case {
    /// A file of [`folder`] without its extension, or the name of a generated module.
    pub name: &'static str,
    made: Option<Vec<u8>>,
    pub grants: Grants,
    pub input: Vec<u8>,
    pub bounds: Bounds,
    pub expected: Expected,
}

/// The folder of the modules written as text.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile")
}

const ALL: Grants = Grants { log: true, emit: true };
const NONE: Grants = Grants { log: false, emit: false };
const INPUT: &[u8] = b"seventeen bytes!!";

impl Case {
    pub fn wasm(&self) -> Vec<u8> {
        let read = || wat::parse_file(folder().join(self.name).with_extension("wat")).unwrap();
        self.made.clone().unwrap_or_else(read)
    }

    pub fn is_a_file(&self) -> bool {
        self.made.is_none()
    }
}

fn case(name: &'static str, grants: Grants, expected: Expected) -> Case {
    let time = match &expected {
        Load(LoadFault::Start(Fault::OutOfTime { limit }))
        | Load(LoadFault::Init { fault: Fault::OutOfTime { limit }, .. })
        | Call(Fault::OutOfTime { limit }) => *limit,
        // Only an endless call exceeds this, even on a busy machine.
        _ => limits::TIME_CEILING,
    };
    let bounds = Bounds { time, ..Bounds::default() };
    Case { name, made: None, grants, input: INPUT.to_vec(), bounds, expected }
}

/// A generated module.
fn made(name: &'static str, wasm: Vec<u8>, expected: Expected) -> Case {
    Case { made: Some(wasm), ..case(name, NONE, expected) }
}

fn out_of_time() -> Fault {
    Fault::OutOfTime { limit: Duration::from_millis(20) }
}

fn out_of_memory() -> Fault {
    Fault::OutOfMemory { limit: limits::MEMORY }
}

fn trap(kind: TrapKind) -> Fault {
    Fault::Trap { kind, functions: vec![] }
}

fn trap_in(kind: TrapKind, function: &str) -> Fault {
    Fault::Trap { kind, functions: vec![function.into()] }
}

fn init(fault: Fault, last_words: Option<&str>) -> Expected {
    Load(LoadFault::Init { fault, last_words: last_words.map(str::to_owned) })
}

fn forbidden(import: &str) -> Expected {
    Load(LoadFault::ForbiddenImport { import: import.into() })
}

fn wrong_export(export: &'static str, expected: &'static str, found: &str) -> Expected {
    Load(LoadFault::WrongExport { export, expected, found: found.into() })
}

fn pointer(what: &'static str, ptr: u32, len: u32) -> Expected {
    Call(Fault::BadPointer { what, ptr, len, memory: 65536 })
}

fn bad_alloc(ptr: u32) -> Expected {
    Call(Fault::BadAlloc { len: INPUT.len() as u32, ptr })
}

fn logged(log: Vec<(LogLevel, String)>) -> Expected {
    Served(Reply { output: None, emits: vec![], log })
}

fn answered(output: &[u8]) -> Expected {
    Served(Reply { output: Some(output.to_vec()), emits: vec![], log: vec![] })
}

fn starts() -> Vec<Case> {
    vec![
        case("start_loops", NONE, Load(LoadFault::Start(out_of_time()))),
        case("start_traps", NONE, Load(LoadFault::Start(trap_in(TrapKind::Unreachable, "start")))),
        case("start_emits", ALL, Load(LoadFault::Start(Fault::EmitOutsideMessage))),
        case("data_out_of_bounds", NONE, Load(LoadFault::Start(trap(TrapKind::MemoryOutOfBounds)))),
        case("init_loops", NONE, init(out_of_time(), None)),
        case("init_refuses", ALL, init(Fault::InitRefused { code: 3 }, Some("no threshold"))),
        case("init_emits", ALL, init(Fault::EmitOutsideMessage, None)),
        case("init_recurses", NONE, init(Fault::StackOverflow, None)),
        case("init_grows_over", NONE, init(out_of_memory(), None)),
        case(
            "memory_starts_too_large",
            NONE,
            Load(LoadFault::MemoryOverLimit { initial: 131_072_000, limit: limits::MEMORY }),
        ),
    ]
}

fn imports() -> Vec<Case> {
    vec![
        case("imports_wasi", ALL, forbidden("wasi_snapshot_preview1.fd_write")),
        case("imports_unknown_module", ALL, forbidden("env.read_sensor")),
        case("imports_unknown_name", ALL, forbidden("inferbus.now")),
        case("imports_global_log", ALL, forbidden("inferbus.log")),
        case("imports_memory", ALL, forbidden("env.memory")),
        case("imports_table", ALL, forbidden("env.table")),
        case("imports_hidden_name", ALL, forbidden(r"env.\u{1b}[31mred")),
        case("imports_log_ungranted", Grants { log: false, emit: true }, Load(LoadFault::NotGranted { import: "log" })),
        case(
            "imports_emit_ungranted",
            Grants { log: true, emit: false },
            Load(LoadFault::NotGranted { import: "emit" }),
        ),
        case(
            "imports_log_wrong_signature",
            ALL,
            Load(LoadFault::WrongImport {
                import: "log",
                expected: "a function (i32, i32, i32)",
                found: "a function (i32, i64) -> i32".into(),
            }),
        ),
        case(
            "imports_emit_wrong_signature",
            ALL,
            Load(LoadFault::WrongImport {
                import: "emit",
                expected: "a function (i32, i32, i32, i32) -> i32",
                found: "a function (i32, i32, i32, i32)".into(),
            }),
        ),
    ]
}

fn exports() -> Vec<Case> {
    let missing = |export| Load(LoadFault::MissingExport { export });
    vec![
        case("no_memory", NONE, missing("memory")),
        case("no_alloc", NONE, missing("alloc")),
        case("no_transform", NONE, missing("transform")),
        case("memory_is_a_function", NONE, wrong_export("memory", "a memory", "a function")),
        case("alloc_is_a_global", NONE, wrong_export("alloc", "a function (i32) -> i32", "a global")),
        case("alloc_takes_i64", NONE, wrong_export("alloc", "a function (i32) -> i32", "a function (i64) -> i32")),
        case(
            "transform_returns_i32",
            NONE,
            wrong_export("transform", "a function (i32, i32) -> i64", "a function (i32, i32) -> i32"),
        ),
        case("init_takes_nothing", NONE, wrong_export("init", "a function (i32, i32) -> i32", "a function ()")),
    ]
}

fn features() -> Vec<Case> {
    vec![
        case("component", NONE, Load(LoadFault::Component)),
        case("table_too_large", NONE, Load(LoadFault::TableTooLarge { elements: 1_000_000 })),
        case("too_many_tables", NONE, Load(LoadFault::TooManyTables { count: 5 })),
        case("uses_atomics", NONE, Invalid("threads support is not enabled")),
        case("uses_exceptions", NONE, Invalid("exceptions proposal not enabled")),
        case("uses_externref", NONE, Invalid("gc types are disallowed")),
        case("uses_gc", NONE, Invalid("not supported without the gc feature")),
        case("uses_memory64", NONE, Invalid("memory64 must be enabled")),
        case("uses_multi_memory", NONE, Invalid("multiple memories")),
        case("uses_relaxed_simd", NONE, Invalid("relaxed SIMD support is not enabled")),
        case("uses_tail_calls", NONE, Invalid("tail calls support is not enabled")),
        case("uses_threads", NONE, Invalid("threads must be enabled")),
    ]
}

fn transforms() -> Vec<Case> {
    let traps = |file, kind| case(file, NONE, Call(trap(kind)));
    vec![
        case("transform_loops", NONE, Call(out_of_time())),
        case("memory_fill_loops", NONE, Call(out_of_time())),
        case("recurses", NONE, Call(Fault::StackOverflow)),
        case("grows_over", NONE, Call(out_of_memory())),
        case("grows_beyond_ceiling", NONE, Call(out_of_memory())),
        case("grows_to_limit", NONE, logged(vec![])),
        traps("table_grows_over", TrapKind::Unreachable),
        traps("traps_unreachable", TrapKind::Unreachable),
        case("traps_in_a_coloured_name", NONE, Call(trap_in(TrapKind::Unreachable, r"\u{1b}[31mred\n"))),
        traps("traps_memory", TrapKind::MemoryOutOfBounds),
        traps("traps_division", TrapKind::DivisionByZero),
        traps("traps_overflow", TrapKind::IntegerOverflow),
        traps("traps_conversion", TrapKind::BadConversion),
        traps("traps_null_call", TrapKind::NullCall),
        traps("traps_table", TrapKind::TableOutOfBounds),
        traps("traps_signature", TrapKind::WrongSignature),
        case("alloc_out_of_bounds", NONE, bad_alloc(65536)),
        case("alloc_at_the_end", NONE, bad_alloc(65520)),
        case("alloc_misaligned", NONE, bad_alloc(1025)),
        case("alloc_negative", NONE, bad_alloc(u32::MAX - 15)),
        case("alloc_null", NONE, bad_alloc(0)),
        case("alloc_overlapping", NONE, answered(b"seventeen bytes!! the plugin's own")),
        case("alloc_loops", NONE, Call(out_of_time())),
        traps("alloc_traps", TrapKind::Unreachable),
        case("alloc_grows_over", NONE, Call(out_of_memory())),
    ]
}

fn results() -> Vec<Case> {
    let too_large = |len| Call(Fault::OutputTooLarge { len, limit: limits::OUTPUT });
    vec![
        case("result_out_of_bounds", NONE, pointer("its result", 65520, 17)),
        case("result_wraps", NONE, pointer("its result", 0x7fff_fff0, 64)),
        case("result_too_large", NONE, too_large(u32::MAX)),
        case("result_over_limit", NONE, too_large(limits::OUTPUT as u32 + 1)),
        case("error_out_of_bounds", NONE, pointer("its error message", 65536, 1)),
        case("error_wraps", NONE, pointer("its error message", 0x7fff_ffff, u32::MAX)),
        case("error_invalid_utf8", NONE, Call(Fault::Refused("bad \u{fffd}\u{fffd} \\u{1b}[31m".into()))),
        case("error_huge", NONE, Call(Fault::Refused("a".repeat(limits::QUOTED_BYTES) + "…"))),
    ]
}

fn rings() -> Vec<Case> {
    let flood = (0..limits::LOG_LINES).map(|_| (LogLevel::Info, "alarm".to_owned()));
    let too_large = case("emit_too_large", ALL, Call(Fault::EmitTooLarge { limit: limits::EMIT_BYTES }));
    let told = (LogLevel::Warn, "9968 more log lines of this call were dropped".to_owned());
    let ansi = r"\u{1b}[2J\u{1b}[31malarm\r\n".to_owned() + "\u{fffd}";
    vec![
        case("emit_payload_wraps", ALL, pointer("an emit's payload", u32::MAX, 2)),
        case("emit_topic_wraps", ALL, pointer("an emit's topic", 1, u32::MAX)),
        case("emit_a_million", ALL, Call(Fault::EmitTooMany { limit: limits::EMITS })),
        // With this many emits allowed, the limit on their bytes comes first.
        Case { bounds: Bounds { emits: 20, ..too_large.bounds }, ..too_large },
        case("log_out_of_bounds", ALL, pointer("a log text", 65530, 7)),
        case("log_flood", ALL, logged(flood.chain([told]).collect())),
        case("log_ansi", ALL, logged(vec![(LogLevel::Trace, ansi)])),
        case("log_huge", ALL, logged(vec![(LogLevel::Error, "a".repeat(limits::LOG_BYTES) + "…")])),
    ]
}

/// Topics outside the route's output, and topics without a possible subscriber.
fn topics() -> Vec<Case> {
    let bad = [
        "",
        ".",
        ">",
        "*",
        "a.>",
        "a.*.b",
        "seventeen bytes!!",
        "a\tb",
        "a..b",
        ".a",
        "a.",
        "$SYS",
        "$SYS.REQ",
        "x.$JS",
    ];
    let topic = |topic: &str| Case {
        input: topic.into(),
        ..case("emit_to_input", ALL, Call(Fault::BadEmitTopic(topic.escape_default().to_string())))
    };
    bad.into_iter().map(topic).collect()
}

/// Empty values in every place.
fn zero_lengths() -> Vec<Case> {
    let emits = vec![Emit { topic: "t".into(), payload: vec![] }];
    let log = vec![(LogLevel::Error, String::new())];
    let cases = [
        case("zero_length", ALL, Served(Reply { output: Some(vec![]), emits, log })),
        case("zero_length_error", NONE, Call(Fault::Refused(String::new()))),
    ];
    cases.map(|case| Case { input: vec![], ..case }).into()
}

/// Bytes other than a core module, among them compiled code.
fn impostors() -> Vec<Case> {
    let not_wasm = || Load(LoadFault::NotWasm);
    let module = wat::parse_str(format!("(module {CONTRACT})")).unwrap();
    let compiled = wasmtime::Engine::default().precompile_module(&module).unwrap();
    let header: &[u8] = b"\0asm\x01\0\0\0";
    vec![
        made("no bytes", vec![], not_wasm()),
        made("one byte", vec![0], not_wasm()),
        made("a script", b"#!/bin/sh\nexec sh\n".to_vec(), not_wasm()),
        made("another version of WebAssembly", b"\0asm\x02\0\0\0".to_vec(), not_wasm()),
        made("a header alone", header.to_vec(), Load(LoadFault::MissingExport { export: "memory" })),
        made("a module without its end", module[..module.len() - 3].to_vec(), Invalid("unexpected end")),
        made("an ELF header", b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec(), Load(LoadFault::MachineCode)),
        made("compiled code", compiled.clone(), Load(LoadFault::MachineCode)),
        made("compiled code behind a header", [header, &compiled].concat(), Invalid("")),
    ]
}

/// Modules too large to compile.
fn bombs() -> Vec<Case> {
    let bomb = |fields: &str| wat::parse_str(format!("(module {CONTRACT} {fields})")).unwrap();
    let functions = bomb(&"(func)".repeat(FUNCTIONS));
    let table = bomb(&format!("(func i32.const 0 br_table {} 0)", "0 ".repeat(TARGETS)));
    let long = bomb(&format!("(func {})", "nop ".repeat(limits::FUNCTION_BYTES)));
    let locals = bomb(&format!("(func (local {}))", "i64 ".repeat(LOCALS)));
    // One byte of locals before the instructions, and one for the end of the function.
    let nops = limits::FUNCTION_BYTES + 2;
    // Two bytes for the constant, two as above, one for the instruction, three for the count, one for the default.
    let targets = TARGETS + 2 + 2 + 1 + 3 + 1;
    vec![
        made("200,000 functions", functions, Load(LoadFault::TooManyFunctions { count: FUNCTIONS as u32 + 2 })),
        made("a br_table of two million targets", table, Load(LoadFault::FunctionTooLarge { bytes: targets })),
        made("a function of a million instructions", long, Load(LoadFault::FunctionTooLarge { bytes: nops })),
        made("a function of too many locals", locals, Invalid("too many locals")),
        made(
            "more bytes than a module may have",
            vec![0; limits::MODULE_BYTES + 1],
            Load(LoadFault::ModuleTooLarge { bytes: limits::MODULE_BYTES + 1 }),
        ),
    ]
}

const FUNCTIONS: usize = 200_000;
const TARGETS: usize = 2_000_000;
const LOCALS: usize = 60_000;

/// The exports of every plugin.
const CONTRACT: &str = r#"(memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)"#;

pub fn all() -> Vec<Case> {
    let written = [starts(), imports(), exports(), features(), transforms(), results(), rings(), topics()];
    let made = [zero_lengths(), impostors(), bombs()];
    written.into_iter().chain(made).flatten().collect()
}
