;; A log line that clears the screen, breaks the line and is not UTF-8.
(module
  (import "inferbus" "log" (func $log (param i32 i32 i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\1b[2J\1b[31malarm\0d\0a\ff")
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param $ptr i32) (param $len i32) (result i64)
    (call $log (i32.const 77) (i32.const 0) (i32.const 17))
    i64.const 0)
)
