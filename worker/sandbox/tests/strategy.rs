//! Strategies: the rewound plugins, the plugins with fresh instances, and the operator's text about them.

use crate::support::{ECHO, NONE, call, load, patient};
use inferbus_sandbox::{Because, Ceilings, Fault, FaultClass, Plugin, Sandbox, Strategy, limits};

/// An echo with these fields more.
fn echo_with(more: &str) -> String {
    format!("{}{more})", ECHO.trim_end().strip_suffix(')').unwrap())
}

fn strategy(more: &str) -> Strategy {
    load(&echo_with(more), NONE, b"").unwrap().strategy()
}

fn because(more: &str) -> Because {
    match strategy(more) {
        Strategy::Fresh { because } => because,
        rewind => panic!("{rewind}"),
    }
}

fn globals(count: usize) -> String {
    "(global (mut i32) (i32.const 0))".repeat(count)
}

#[test]
fn what_an_operator_is_told() {
    let told = |more: &str| strategy(more).to_string();
    let rewind = |globals| format!("rewind: 64 KiB of memory and {globals} are reset after each message");
    assert_eq!(told(""), rewind("no globals"));
    assert_eq!(told(&globals(1)), rewind("1 global"));
    assert_eq!(told(&globals(2)), rewind("2 globals"));
    let table = "(table 1 funcref) (func (table.set (i32.const 0) (ref.null func)))";
    assert_eq!(told(table), "fresh instance for each message: it writes to tables (table.set)");
}

#[test]
fn what_is_only_read_is_no_obstacle() {
    let reads = r#"(table $t 1 funcref) (elem (table $t) (i32.const 0) func $f) (data $d "x") (elem $e func $f)
      (global funcref (ref.func $f)) (global i32 (i32.const 1))
      (func $f (memory.init $d (i32.const 0) (i32.const 0) (i32.const 1)) (drop (table.get $t (i32.const 0))))"#;
    assert_eq!(strategy(reads), Strategy::Rewind { memory: 65536, globals: 0 });
}

#[test]
fn bounds_are_kept_exactly() {
    let most = limits::REWIND_GLOBALS;
    assert_eq!(strategy(&globals(most)), Strategy::Rewind { memory: 65536, globals: most });
    assert_eq!(because(&globals(most + 1)), Because::ManyGlobals(most + 1));
}

/// A message costs only its own writes, so memory may be as large as the entry's limit.
#[test]
fn memory_of_any_size_is_rewound() {
    let pages = patient().memory / 65536;
    let large = load(&ECHO.replace(r#""memory") 1"#, &format!(r#""memory") {pages}"#)), NONE, b"").unwrap();
    assert_eq!(large.strategy(), Strategy::Rewind { memory: patient().memory, globals: 0 });
    assert_eq!(call(&mut large.instance(), b"hi").unwrap().output.unwrap(), b"hi");
}

#[test]
fn a_private_name_cannot_be_taken() {
    let taken = r#"(global $mine (mut i64) (i64.const 5)) (global (mut i32) (i32.const 0))
      (export "inferbus.rewind.1" (global $mine))"#;
    assert_eq!(because(taken), Because::ReservedExport);
    assert_eq!(
        call(&mut load(&echo_with(taken), NONE, b"").unwrap().instance(), b"hi").unwrap().output.unwrap(),
        b"hi"
    );
}

/// A plugin's own refusal keeps the instance warm; every other fault costs its slot.
#[test]
fn only_an_instance_whose_call_ended_well_stays_warm() {
    let sandbox = Sandbox::new(Ceilings { instances: 1, ..Ceilings::default() }).unwrap();
    let load = |wat: &str| Plugin::load(&sandbox, &wat::parse_str(wat).unwrap(), NONE, patient(), b"").unwrap();
    let refuses = load(&ECHO.replace("(i64.or", "(i64.const 0x8000000000000000) return (i64.or"));
    let traps = load(&ECHO.replace("(i64.or", "unreachable (i64.or"));
    let echo = load(ECHO);

    let mut warm = refuses.instance();
    assert_eq!(call(&mut warm, b"").unwrap_err(), Fault::Refused(String::new()));
    assert_eq!(call(&mut echo.instance(), b"").unwrap_err(), Fault::NoInstance { limit: 1 });
    drop(warm);

    let mut lost = traps.instance();
    assert_eq!(call(&mut lost, b"").unwrap_err().class(), FaultClass::Trapped);
    assert!(call(&mut echo.instance(), b"").is_ok());
}
