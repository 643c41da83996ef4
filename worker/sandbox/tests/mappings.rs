//! The number of the process's mappings is bounded. A separate executable: it counts the mappings of its process.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use inferbus_sandbox::limits;
use support::{NONE, call, load};

/// Watches over scattered writes cut memories into mappings, a limited resource of a process. Beyond a bound a memory
/// is not watched, and is still restored.
#[test]
fn more_instances_than_can_be_watched_keep_no_secret_either() {
    const SCATTERED: &str = r#"(module
      (memory (export "memory") 256)
      (func (export "alloc") (param i32) (result i32) i32.const 64)
      (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
        (local $at i32) (local $hits i32)
        (loop $scan
          (local.set $hits (i32.add (local.get $hits) (i32.load offset=4096 (local.get $at))))
          (i32.store offset=4096 (local.get $at) (i32.const 1))
          (br_if $scan (i32.lt_u (local.tee $at (i32.add (local.get $at) (i32.const 450560))) (i32.const 13000000))))
        (i32.store (i32.const 32) (local.get $hits))
        i64.const 0x0000_0020_0000_0004))"#;
    // Instances of a plugin share the knowledge of its watch, so each plugin has one instance.
    let mut lanes: Vec<_> = (0..1100).map(|_| load(SCATTERED, NONE, b"").unwrap().instance()).collect();
    for round in 0..3 {
        for lane in &mut lanes {
            assert_eq!(call(lane, b"").unwrap().output.unwrap(), 0_u32.to_le_bytes(), "hits in round {round}");
        }
    }
    let mappings = std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    assert!(mappings < limits::WATCH_CUTS + 15_000, "{mappings} mappings");
    assert!(mappings > limits::WATCH_CUTS - 5_000, "{mappings} mappings: the bound was not tried");
}
