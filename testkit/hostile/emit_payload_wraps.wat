;; emit's payload starts at the highest address.
(module
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "topic")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (drop (call $emit (i32.const 0) (i32.const 5) (i32.const -1) (i32.const 2)))
    i64.const 0)
)
