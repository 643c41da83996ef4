;; Interprets its messages. The address of a message depends only on its length, because `alloc` has no other input.
(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 2 8)
  (global $number (mut i64) (i64.const 5))
  ;; Thirty-two addresses: most are valid, the others are close to each edge.
  (data (i32.const 0)
    "\00\04\00\00" "\00\00\01\00" "\00\10\00\00" "\00\04\00\00" "\00\00\00\00" "\00\04\00\00" "\10\00\00\00" "\00\04\00\00"
    "\00\04\00\00" "\f0\ff\01\00" "\00\04\00\00" "\00\00\02\00" "\00\04\00\00" "\01\04\00\00" "\00\04\00\00" "\f0\ff\ff\ff"
    "\00\04\00\00" "\00\00\01\00" "\00\04\00\00" "\00\ff\00\00" "\00\04\00\00" "\00\00\00\80" "\00\04\00\00" "\f0\ff\ff\7f"
    "\00\04\00\00" "\00\00\01\00" "\00\04\00\00" "\00\f0\01\00" "\00\04\00\00" "\08\04\00\00" "\00\04\00\00" "\00\ff\01\00")
  (data (i32.const 256) "line.7 a..b * $SYS alarm \1b[31m \ff\fe caf\c3\a9")
  (func (export "alloc") (param $len i32) (result i32)
    (i32.load (i32.shl (i32.and (local.get $len) (i32.const 31)) (i32.const 2))))
  (func (export "transform") (param $at i32) (param $len i32) (result i64)
    (local $end i32) (local $step i32) (local $a i32) (local $b i32) (local $c i32) (local $d i32)
    (local.set $end (i32.add (local.get $at) (local.get $len)))
    (block $done (loop $more
      ;; One byte of operation, sixteen bytes of operands.
      (br_if $done (i32.gt_u (i32.add (local.get $at) (i32.const 17)) (local.get $end)))
      (local.set $step (i32.and (i32.load8_u (local.get $at)) (i32.const 7)))
      (local.set $a (i32.load offset=1 (local.get $at)))
      (local.set $b (i32.load offset=5 (local.get $at)))
      (local.set $c (i32.load offset=9 (local.get $at)))
      (local.set $d (i32.load offset=13 (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 17)))
      (if (i32.eq (local.get $step) (i32.const 0)) (then
        (call $log (local.get $a) (local.get $b) (local.get $c))))
      (if (i32.eq (local.get $step) (i32.const 1)) (then
        (drop (call $emit (local.get $a) (local.get $b) (local.get $c) (local.get $d)))))
      (if (i32.eq (local.get $step) (i32.const 2)) (then
        (return (i64.or (i64.shl (i64.extend_i32_u (local.get $a)) (i64.const 32)) (i64.extend_i32_u (local.get $b))))))
      (if (i32.eq (local.get $step) (i32.const 3)) (then
        (i32.store (local.get $a) (local.get $b))))
      (if (i32.eq (local.get $step) (i32.const 4)) (then
        (global.set $number (i64.extend_i32_u (local.get $a)))))
      (if (i32.eq (local.get $step) (i32.const 5)) (then
        (drop (memory.grow (i32.and (local.get $a) (i32.const 7))))))
      (if (i32.eq (local.get $step) (i32.const 6)) (then
        (memory.copy (local.get $a) (local.get $b) (local.get $c))))
      (if (i32.eq (local.get $step) (i32.const 7)) (then
        ;; Returns all of memory, with a copy of the global.
        (i64.store (i32.const 512) (global.get $number))
        (return (i64.extend_i32_u (i32.mul (memory.size) (i32.const 65536))))))
      (br $more)))
    i64.const 0))
