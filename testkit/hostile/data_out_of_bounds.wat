;; A data segment lies beyond the memory.
(module
  (memory (export "memory") 1)
  (data (i32.const 65530) "far too long")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
)
