;; A garbage-collected struct.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0)
  (type $s (struct (field i32)))
  (func (result (ref $s)) (struct.new_default $s))
)
