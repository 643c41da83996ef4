;; Calls through a slot beyond the table.
(module
  (memory (export "memory") 1)
  (table 1 funcref)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64)
    (call_indirect (result i64) (i32.const 1)))
)
