//! No message can see another's data: every call starts from the state after `init`.

use crate::support::{NONE, call, load};
use inferbus_sandbox::{Instance, Strategy, limits};

/// Returns all of its observable state, then destroys it; traps on request.
const VANDAL: &str = r#"(module
  (memory (export "memory") 1 4)
  (table $t 2 10 funcref)
  (global $private (mut i64) (i64.const 0))
  (global $vector (mut v128) (v128.const i64x2 5 6))
  (global $public (export "public") (mut i32) (i32.const 7))
  (data $passive "passive")
  (elem $slots func $five)
  (func $five (result i32) i32.const 5)
  (func (export "alloc") (param i32) (result i32) i32.const 256)
  (func (export "init") (param i32 i32) (result i32)
    (global.set $private (i64.const 0x1122334455667788))
    (i64.store (i32.const 4096) (i64.const 99))
    (table.init $t $slots (i32.const 1) (i32.const 0) (i32.const 1))
    i32.const 0)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (i64.store (i32.const 1024) (global.get $private))
    (v128.store (i32.const 1040) (global.get $vector))
    (i32.store (i32.const 1056) (global.get $public))
    (i32.store (i32.const 1060) (memory.size))
    (i32.store (i32.const 1064) (table.size $t))
    (i32.store (i32.const 1068) (ref.is_null (table.get $t (i32.const 1))))
    (i64.store (i32.const 1072) (i64.load (i32.const 4096)))
    (i64.store (i32.const 1080) (i64.load (i32.const 65000)))
    (memory.init $passive (i32.const 1088) (i32.const 0) (i32.const 7))
    (table.init $t $slots (i32.const 0) (i32.const 0) (i32.const 1))
    ;; From here on everything is destroyed.
    (global.set $private (i64.const -1))
    (global.set $vector (v128.const i64x2 -1 -1))
    (global.set $public (i32.const -1))
    (table.set $t (i32.const 1) (ref.null func))
    (drop (table.grow $t (ref.func $five) (i32.const 3)))
    (data.drop $passive)
    (elem.drop $slots)
    (drop (memory.grow (i32.const 2)))
    (memory.fill (i32.const 2048) (i32.const 0xff) (i32.const 192512))
    (if (local.get $len) (then unreachable))
    i64.const 0x0000_0400_0000_0060))"#;

#[test]
fn everything_is_as_init_left_it() {
    let plugin = load(VANDAL, NONE, b"").unwrap();
    let first = call(&mut plugin.instance(), b"").unwrap();
    let mut lane = plugin.instance();
    for round in 0..1000 {
        if round % 3 == 0 {
            call(&mut lane, b"trap").unwrap_err();
        }
        assert_eq!(call(&mut lane, b"").unwrap(), first, "round {round}");
    }
}

/// Searches all its memory for the message's first eight bytes, the secret, then writes the secret into all of it and
/// into a global. Returns the number of hits. The message's ninth byte selects more: 1 grows the memory first, 2
/// traps at the end, 3 refuses the message at the end.
const SPY: &str = r#"(module
  (memory (export "memory") 1 8)
  (global $keep (mut i64) (i64.const 0))
  (func (export "alloc") (param i32) (result i32) i32.const 64)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (local $secret i64) (local $mode i32) (local $at i32) (local $end i32) (local $hits i32)
    (local.set $secret (i64.load (local.get $ptr)))
    (local.set $mode (i32.load8_u offset=8 (local.get $ptr)))
    (i64.store (local.get $ptr) (i64.const 0))
    (if (i32.eq (local.get $mode) (i32.const 1)) (then (drop (memory.grow (i32.const 1)))))
    (local.set $end (i32.shl (memory.size) (i32.const 16)))
    (local.set $hits (i64.eq (global.get $keep) (local.get $secret)))
    (loop $scan
      (local.set $hits (i32.add (local.get $hits) (i64.eq (i64.load (local.get $at)) (local.get $secret))))
      (i64.store (local.get $at) (local.get $secret))
      (br_if $scan (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 8))) (local.get $end))))
    (global.set $keep (local.get $secret))
    (if (i32.eq (local.get $mode) (i32.const 2)) (then unreachable))
    (if (i32.eq (local.get $mode) (i32.const 3)) (then (return (i64.const 0x8000_0000_0000_0004))))
    (i32.store (i32.const 32) (local.get $hits))
    i64.const 0x0000_0020_0000_0004))"#;

const SECRET: [u8; 8] = 0x5ec2_e7da_7a5e_c2e7_u64.to_le_bytes();
const PLAIN: u8 = 0;
const GROWS: u8 = 1;
const TRAPS: u8 = 2;
const REFUSES: u8 = 3;

/// The spy's count, from a call without a fault.
fn hits(lane: &mut Instance, mode: u8) -> Option<Vec<u8>> {
    call(lane, &[&SECRET[..], &[mode]].concat()).ok().and_then(|seen| seen.output)
}

#[test]
fn a_secret_is_never_seen_again() {
    let plugin = load(SPY, NONE, b"").unwrap();
    assert_eq!(plugin.strategy(), Strategy::Rewind { memory: 65536, globals: 1 });
    let mut lanes = [plugin.instance(), plugin.instance()];
    for round in 0..100_000 {
        let lane = &mut lanes[round % 2];
        match round % 50 {
            7 => _ = hits(lane, GROWS),
            13 => _ = hits(lane, TRAPS),
            22 => _ = hits(lane, REFUSES),
            _ => {}
        }
        assert_eq!(hits(lane, PLAIN).unwrap(), 0_u32.to_le_bytes(), "hits in round {round}");
    }
}

#[test]
fn another_plugin_does_not_see_it_either() {
    for round in 0..20 {
        let spy = load(SPY, NONE, b"").unwrap();
        for mode in [PLAIN, GROWS, PLAIN, GROWS] {
            assert_eq!(hits(&mut spy.instance(), mode).unwrap(), 0_u32.to_le_bytes(), "hits in round {round}");
        }
    }
}

/// Writes all of its memory on request, and returns the sum of some of it.
#[test]
fn what_one_message_wrote_everywhere_is_forgotten_in_time_and_put_back_all_along() {
    const WIDE: &str = r#"(module
      (memory (export "memory") 16)
      (func (export "alloc") (param i32) (result i32) i32.const 64)
      (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
        (local $at i32) (local $sum i32)
        (local.set $at (i32.const 4096))
        (loop $scan
          (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
          (br_if $scan (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 4096))) (i32.const 1048576))))
        (if (local.get $len) (then (memory.fill (i32.const 4096) (i32.const 7) (i32.const 1044480))))
        (i32.store (i32.const 32) (local.get $sum))
        i64.const 0x0000_0020_0000_0004))"#;
    let plugin = load(WIDE, NONE, b"").unwrap();
    let mut lane = plugin.instance();
    for round in 0..3 * limits::WATCH_MESSAGES {
        let wide = round % 3000 == 1;
        let answer = call(&mut lane, if wide { b"x" } else { b"" }).unwrap();
        assert_eq!(answer.output.unwrap(), 0_u32.to_le_bytes(), "in round {round}");
    }
}
