;; alloc points to the last 16 bytes, whatever the length.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param $len i32) (result i32)
    i32.const 65520)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
)
