;; Gives up in a function whose name colours a terminal and breaks the line.
(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (@name "\1b[31mred\n") (export "transform") (param i32 i32) (result i64) unreachable)
)
