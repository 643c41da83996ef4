;; Logs nothing, emits nothing under a topic, and answers with nothing at an address.
(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "t")
  (func (export "alloc") (param i32) (result i32) i32.const 65536)
  (func (export "transform") (param i32 i32) (result i64)
    (call $log (i32.const 0) (i32.const 65536) (i32.const 0))
    (drop (call $emit (i32.const 0) (i32.const 1) (i32.const 65536) (i32.const 0)))
    i64.const 0x0001_0000_0000_0000)
)
