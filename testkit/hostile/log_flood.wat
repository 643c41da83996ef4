;; Ten thousand log lines.
(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\1b[2J\1b[31malarm\0d\0a\ff")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (local $n i32)
    (loop $more
      (call $log (i32.const 2) (i32.const 9) (i32.const 5))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10000))))
    i64.const 0)
)
