;; Takes all the memory that it may have, and writes to the last byte of it.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64)
    (if (i32.ne (memory.grow (i32.const 1023)) (i32.const 1)) (then unreachable))
    (i32.store8 (i32.const 0x3ffffff) (i32.const 7))
    i64.const 0)
)
