;; Fills its memory for ever: one instruction, much work.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (loop (memory.fill (i32.const 0) (i32.const 7) (i32.const 65536)) (br 0))
    i64.const 0)
)
