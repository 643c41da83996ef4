;; init emits, though there is no message yet.
(module
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "topic")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
  (func (export "init") (param i32 i32) (result i32)
    (call $emit (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 5)))
)
