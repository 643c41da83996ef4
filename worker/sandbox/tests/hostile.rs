//! Every module in `tests/hostile` misbehaves in one way, and gets exactly the fault that is its due.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use Expected::{Call, Invalid, Load, Served};
use inferbus_sandbox::{Bounds, Fault, FaultClass, Grants, LoadFault, LogLevel, Plugin, TrapKind, limits};
use support::{ALL, ECHO, NONE, Seen, call, load, patient, sandbox};

#[derive(Debug)]
enum Expected {
    Load(LoadFault),
    /// The reason is the validator's own text, which must hold this.
    Invalid(&'static str),
    Call(Fault),
    Served(Seen),
}

struct Case {
    file: &'static str,
    grants: Grants,
    input: Vec<u8>,
    bounds: Bounds,
    expected: Expected,
}

const INPUT: &[u8] = b"seventeen bytes!!";

fn case(file: &'static str, grants: Grants, expected: Expected) -> Case {
    let bounds = match &expected {
        Load(LoadFault::Start(Fault::OutOfTime { limit }))
        | Load(LoadFault::Init { fault: Fault::OutOfTime { limit }, .. })
        | Call(Fault::OutOfTime { limit }) => Bounds { time: *limit, ..Bounds::default() },
        _ => patient(),
    };
    Case { file, grants, input: INPUT.to_vec(), bounds, expected }
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
    Served(Seen { output: None, emits: vec![], log })
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
        traps("table_grows_over", TrapKind::Unreachable),
        traps("traps_unreachable", TrapKind::Unreachable),
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
    let told = (LogLevel::Warn, "9968 more log lines of this call were dropped".to_owned());
    let ansi = r"\u{1b}[2J\u{1b}[31malarm\r\n".to_owned() + "\u{fffd}";
    vec![
        case("emit_payload_wraps", ALL, pointer("an emit's payload", u32::MAX, 2)),
        case("emit_topic_wraps", ALL, pointer("an emit's topic", 1, u32::MAX)),
        case("emit_to_input", ALL, Call(Fault::BadEmitTopic("seventeen bytes!!".into()))),
        case("emit_a_million", ALL, Call(Fault::EmitTooMany { limit: limits::EMITS })),
        // So many emits are allowed that their bytes are what runs out.
        Case {
            bounds: Bounds { emits: 20, ..patient() },
            ..case("emit_too_large", ALL, Call(Fault::EmitTooLarge { limit: limits::EMIT_BYTES }))
        },
        case("log_out_of_bounds", ALL, pointer("a log text", 65530, 7)),
        case("log_flood", ALL, logged(flood.chain([told]).collect())),
        case("log_ansi", ALL, logged(vec![(LogLevel::Trace, ansi)])),
        case("log_huge", ALL, logged(vec![(LogLevel::Error, "a".repeat(limits::LOG_BYTES) + "…")])),
    ]
}

fn all() -> Vec<Case> {
    [starts(), imports(), exports(), features(), transforms(), results(), rings()].into_iter().flatten().collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hostile")
}

/// Loads and calls a case's module, twice: what went wrong once goes wrong again in the same way.
fn check(case: &Case) -> Result<(), String> {
    let wasm = wat::parse_file(folder().join(case.file).with_extension("wat")).unwrap();
    let loaded = Plugin::load(sandbox(), &wasm, case.grants, case.bounds.clone(), b"");
    let plugin = match (loaded, &case.expected) {
        (Ok(plugin), _) => plugin,
        (Err(fault), Load(expected)) if fault == *expected => return Ok(()),
        (Err(LoadFault::Invalid(why)), Invalid(part)) if why.contains(part) => return Ok(()),
        (Err(fault), _) => return Err(format!("loading gave {fault:?}: {fault}")),
    };
    let mut instance = plugin.instance();
    for _ in 0..2 {
        match (call(&mut instance, &case.input), &case.expected) {
            (Err(fault), Call(expected)) if fault == *expected => {}
            (Ok(seen), Served(expected)) if seen == *expected => {}
            (result, _) => return Err(format!("the call gave {result:?}")),
        }
    }
    Ok(())
}

#[test]
fn each_misbehaviour_gets_its_fault_and_a_neighbour_is_served() {
    let mut neighbour = load(ECHO, NONE, b"").unwrap().instance();
    let mut wrong = Vec::new();
    for case in all() {
        if let Err(what) = check(&case) {
            wrong.push(format!("{}: expected {:?}, but {what}", case.file, case.expected));
        }
        let served = call(&mut neighbour, case.file.as_bytes()).unwrap();
        assert_eq!(served.output.unwrap(), case.file.as_bytes());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_hostile_module_has_a_case() {
    let cases: BTreeSet<String> = all().iter().map(|case| case.file.to_owned()).collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(cases, files);
}

#[test]
fn no_topic_reaches_beyond_the_prefix() {
    let wasm = wat::parse_file(folder().join("emit_to_input.wat")).unwrap();
    let plugin = Plugin::load(sandbox(), &wasm, ALL, patient(), b"").unwrap();
    let mut instance = plugin.instance();
    for bad in ["", ">", "*", "a.>", "a.*", "a b", "a..b", ".a", "a.", "$SYS", "$SYS.REQ", "x.$JS"] {
        let fault = call(&mut instance, bad.as_bytes()).unwrap_err();
        assert_eq!(fault, Fault::BadEmitTopic(bad.into()));
        assert_eq!(fault.class(), FaultClass::Trapped);
    }
    let seen = call(&mut instance, b"line.7").unwrap();
    assert_eq!(seen.emits[0].topic, "line.7");
}
