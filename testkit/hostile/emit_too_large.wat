;; Emits 60,000 bytes twenty times.
(module
  (import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "topic")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (local $n i32)
    (loop $more
      (drop (call $emit (i32.const 0) (i32.const 5) (i32.const 0) (i32.const 60000)))
      (br_if $more (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 20))))
    i64.const 0)
)
