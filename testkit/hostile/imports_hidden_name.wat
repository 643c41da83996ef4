;; An import whose name would colour a terminal.
(module
  (import "env" "\1b[31mred" (func))
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
)
