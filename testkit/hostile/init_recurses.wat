;; init calls itself for ever.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
  (func $again (export "init") (param i32 i32) (result i32)
    (i32.add (i32.const 1) (call $again (local.get 0) (local.get 1))))
)
