;; init says why on the log and refuses.
(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "no threshold")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
  (func (export "init") (param i32 i32) (result i32)
    (call $log (i32.const 0) (i32.const 0) (i32.const 12))
    i32.const 3)
)
