//! The contract from the host's side, with well-behaved plugins.

use std::time::Duration;

use crate::support::{ALL, ECHO, NONE, call, load, patient, sandbox};
use inferbus_sandbox::{
    Bounds, Ceilings, Emit, Fault, FaultClass, Grants, Import, LoadFault, LogLevel, Plugin, Sandbox, inspect, limits,
};

/// Replies with its config, kept in memory by `init`; it also logs and emits.
const CONFIGURED: &str = r#"(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1 3)
  (global $len (mut i32) (i32.const 0))
  (data (i32.const 0) "readyalarm.hot")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "init") (param $ptr i32) (param $len i32) (result i32)
    (call $log (i32.const 2) (i32.const 0) (i32.const 5))
    (memory.copy (i32.const 2048) (local.get $ptr) (local.get $len))
    (global.set $len (local.get $len))
    i32.const 0)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (call $log (i32.const 3) (local.get $ptr) (local.get $len))
    (drop (call $emit (i32.const 5) (i32.const 9) (local.get $ptr) (local.get $len)))
    (drop (call $emit (i32.const 5) (i32.const 5) (i32.const 0) (i32.const 0)))
    (i64.or (i64.const 0x0000_0800_0000_0000) (i64.extend_i32_u (global.get $len)))))"#;

#[test]
fn a_message_comes_back_from_where_the_guest_left_it() {
    let mut echo = load(ECHO, NONE, b"").unwrap().instance();
    for len in [0, 1, 15, 16, 784, 60_000] {
        let input: Vec<u8> = (0..len).map(|i| i as u8).collect();
        let seen = call(&mut echo, &input).unwrap();
        assert_eq!(seen.output.unwrap(), input, "{len} bytes");
        assert!(seen.emits.is_empty() && seen.log.is_empty());
    }
}

#[test]
fn a_reply_is_aligned_as_the_guest_aligned_it() {
    let mut echo = load(ECHO, NONE, b"").unwrap().instance();
    let reply = echo.call(32, &mut |room| room.fill(7), &mut |_| {}).unwrap();
    assert!(reply.output.unwrap().as_ptr().addr().is_multiple_of(16));
}

#[test]
fn config_log_and_emit_arrive_in_order() {
    let plugin = load(CONFIGURED, ALL, br#"{"threshold":0.8}"#).unwrap();
    let at_load: Vec<_> = plugin.init_log().map(|line| (line.level, line.text)).collect();
    assert_eq!(at_load, [(LogLevel::Info, "ready")]);
    for _ in 0..2 {
        let seen = call(&mut plugin.instance(), b"71 C").unwrap();
        assert_eq!(seen.output.unwrap(), br#"{"threshold":0.8}"#);
        assert_eq!(seen.log, [(LogLevel::Debug, "71 C".to_owned())]);
        let emit = |topic: &str, payload: &[u8]| Emit { topic: topic.into(), payload: payload.into() };
        assert_eq!(seen.emits, [emit("alarm.hot", b"71 C"), emit("alarm", b"")]);
    }
}

#[test]
fn no_result_is_a_result() {
    let filter = ECHO.replace("i64.or", "i64.and");
    let seen = call(&mut load(&filter, NONE, b"").unwrap().instance(), b"").unwrap();
    assert_eq!(seen.output, None);
}

#[test]
fn lines_logged_before_a_fault_are_not_lost() {
    let traps = CONFIGURED.replace("(i64.or (i64.const", "unreachable (i64.or (i64.const");
    let plugin = load(&traps, ALL, b"").unwrap();
    let mut lines = Vec::new();
    let mut instance = plugin.instance();
    let result =
        instance.call(2, &mut |room| room.copy_from_slice(b"hm"), &mut |line| lines.push(line.text.to_owned()));
    assert_eq!(result.unwrap_err().class(), FaultClass::Trapped);
    assert_eq!(lines, ["hm"]);
}

#[test]
fn memory_may_be_grown_up_to_its_limit_exactly() {
    let grow = |pages: usize| {
        let grow = format!("(i32.eq (memory.grow (i32.const {pages})) (i32.const -1))");
        ECHO.replace("(i64.or", &format!("(drop (i32.const 0)) (if {grow} (then unreachable)) (i64.or"))
    };
    let pages = limits::MEMORY / 65536;
    let mut fits = load(&grow(pages - 1), NONE, b"").unwrap().instance();
    assert_eq!(call(&mut fits, b"ok").unwrap().output.unwrap(), b"ok");
    let mut over = load(&grow(pages), NONE, b"").unwrap().instance();
    assert_eq!(call(&mut over, b"ok").unwrap_err(), Fault::OutOfMemory { limit: limits::MEMORY });
}

#[test]
fn an_input_larger_than_any_memory_is_refused_before_it_is_read() {
    let mut echo = load(ECHO, NONE, b"").unwrap().instance();
    let mut never = |_: &mut [u8]| panic!("there is no room to fill");
    let fault = echo.call(1 << 33, &mut never, &mut |_| {}).unwrap_err();
    assert_eq!(fault, Fault::OutOfMemory { limit: limits::MEMORY });
    let fault = echo.call(1 << 20, &mut never, &mut |_| {}).unwrap_err();
    assert_eq!(fault, Fault::BadAlloc { len: 1 << 20, ptr: 1024 });
}

#[test]
fn a_config_that_nobody_takes_is_told() {
    assert_eq!(load(ECHO, NONE, b"{}").err(), Some(LoadFault::UnusedConfig));
}

#[test]
fn no_entry_may_ask_for_more_than_the_worker_allows() {
    let wasm = wat::parse_str(ECHO).unwrap();
    let asked = Bounds { memory: limits::MEMORY_CEILING + 65536, ..Bounds::default() };
    let fault = Plugin::load(sandbox(), &wasm, NONE, asked, b"").err().unwrap();
    assert_eq!(fault.to_string(), "asks for 262208 KiB (limits.memory), more than the 256 MiB that this worker allows");
    let asked = Bounds { time: Duration::from_secs(60), ..Bounds::default() };
    let fault = Plugin::load(sandbox(), &wasm, NONE, asked, b"").err().unwrap();
    assert_eq!(fault.to_string(), "asks for 60s (limits.time), more than the 10s that this worker allows");
}

#[test]
fn every_failed_call_gives_its_slot_back() {
    let sandbox = Sandbox::new(Ceilings { instances: 1, ..Ceilings::default() }).unwrap();
    let load = |wat: &str| Plugin::load(&sandbox, &wat::parse_str(wat).unwrap(), NONE, patient(), b"").unwrap();
    let echo = load(ECHO);
    for broken in
        ["unreachable (i64.or", "(i64.const -1) return (i64.or", "(i64.const 0x10000_0000_0010) return (i64.or"]
    {
        let broken = load(&ECHO.replace("(i64.or", broken));
        let mut failed = broken.instance();
        assert_eq!(call(&mut failed, b"x").unwrap_err().class(), FaultClass::Trapped);
        // `failed` still exists, but without a slot.
        assert!(call(&mut echo.instance(), b"x").is_ok());
    }
    let mut holds_a_reply = echo.instance();
    assert!(call(&mut holds_a_reply, b"x").is_ok());
    assert_eq!(call(&mut echo.instance(), b"x").unwrap_err(), Fault::NoInstance { limit: 1 });
    assert!(call(&mut holds_a_reply, b"x").is_ok());
}

#[test]
fn inspection_tells_what_a_module_is_made_of() {
    let wasm = wat::parse_str(CONFIGURED).unwrap();
    let inspection = inspect(&wasm, ALL).unwrap();
    assert_eq!(inspection.bytes, wasm.len());
    assert_eq!(inspection.functions, 3);
    assert_eq!(inspection.initial_memory, 65536);
    assert_eq!(inspection.maximum_memory, Some(3 * 65536));
    assert_eq!(inspection.imports, [Import::Log, Import::Emit]);
    assert!(inspection.has_init && !inspection.has_start);
    let fault = inspect(&wasm, Grants { log: true, emit: false }).unwrap_err();
    assert_eq!(fault.to_string(), "imports inferbus.emit without the grant: add \"emit\" to the plugin's grants");
}

#[test]
fn faults_name_what_to_raise() {
    let time = Fault::OutOfTime { limit: Duration::from_millis(50) };
    assert_eq!(time.to_string(), "ran out of time after 50ms of processor time (limits.time)");
    let memory = Fault::OutOfMemory { limit: 64 << 20 };
    assert_eq!(memory.to_string(), "ran out of memory: it needs more than 64 MiB (limits.memory)");
    let output = Fault::OutputTooLarge { len: 5_000_000, limit: 4 << 20 };
    assert_eq!(output.to_string(), "returned 5000000 bytes, more than 4 MiB (limits.output)");
    let emits = Fault::EmitTooMany { limit: 16 };
    assert_eq!(emits.to_string(), "emitted more than 16 messages (limits.emits)");
}

#[test]
fn a_trap_names_the_functions_on_the_way() {
    let named = r#"(module
      (memory (export "memory") 1)
      (func (export "alloc") (param i32) (result i32) i32.const 16)
      (func $normalise unreachable)
      (func $outer (export "transform") (param i32 i32) (result i64) call $normalise i64.const 0))"#;
    let fault = call(&mut load(named, NONE, b"").unwrap().instance(), b"").unwrap_err();
    assert_eq!(fault.to_string(), "trapped: it panicked or gave up (unreachable), in normalise called by outer");
}
