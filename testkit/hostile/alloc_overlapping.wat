;; Has the input written over its own data, and answers with both.
(module
  (memory (export "memory") 1)
  (data (i32.const 1024) "this will be lost the plugin's own")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (i64.or (i64.shl (i64.extend_i32_u (local.get $ptr)) (i64.const 32)) (i64.const 34)))
)
