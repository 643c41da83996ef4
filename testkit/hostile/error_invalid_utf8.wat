;; The error message is not UTF-8 and would colour a terminal.
(module
  (memory (export "memory") 1)
  (data (i32.const 16) "bad \ff\fe \1b[31m")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0x8000_0010_0000_000c)
)
