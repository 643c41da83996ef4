;; The memory is over its limit from the start.
(module
  (memory (export "memory") 2000)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
)
