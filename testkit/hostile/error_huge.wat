;; The error message is a megabyte long.
(module
  (memory (export "memory") 32)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64)
    (memory.fill (i32.const 16) (i32.const 0x61) (i32.const 0x100000))
    i64.const 0x8000_0010_0010_0000)
)
