//! Plugins as WebAssembly text: a sensor of four raw floats, and a body for other needs.

use inferbus_abi::Returned;
use inferbus_abi::frame::{DataType, Shape, Tensor, encode};

/// The address of the `data` of [`plugin`].
pub const DATA: u32 = 1024;

/// The import of emit.
pub const EMIT: &str = r#"(import "inferbus" "emit" (func $emit (param i32 i32 i32 i32) (result i32)))"#;

/// The size of the sensor's message in [`sensor_pre`] and [`sensor_post`].
pub const SENSOR_BYTES: usize = 16;

/// The place of the data of a `[1, 4]` tensor in its frame, with a name of one letter, and the end of the frame.
pub const TENSOR_DATA: u32 = 48;
pub const FRAME_END: u32 = 64;

/// A plugin with `body` as its `transform(ptr, len)`, over four pages of memory with `data` at [`DATA`].
pub fn plugin(imports: &str, data: &[u8], body: &str) -> String {
    let data: String = data.iter().map(|byte| format!("\\{byte:02x}")).collect();
    format!(
        r#"(module
  {imports}
  (memory (export "memory") 4)
  (data (i32.const {DATA}) "{data}")
  (func (export "alloc") (param i32) (result i32) i32.const 65536)
  (func $transform (export "transform") (param $ptr i32) (param $len i32) (result i64)
    {body}))"#
    )
}

/// The packed result of `transform` for an output at `ptr`.
pub fn output(ptr: u32, len: u32) -> i64 {
    Returned::Output { ptr, len }.to_packed()
}

/// The packed result of `transform` for an error message at `ptr`.
pub fn error(ptr: u32, len: u32) -> i64 {
    Returned::Error { ptr, len }.to_packed()
}

/// A frame with one tensor.
pub fn frame(name: &str, dtype: DataType, shape: &[u64], data: &[u8]) -> Vec<u8> {
    encode(&[Tensor { name, dtype, shape: Shape::from(shape), data }]).expect("a frame")
}

/// Four raw floats to the identity model's `x`. `first` runs before, and may return.
pub fn sensor_pre(imports: &str, more: &[u8], first: &str) -> String {
    const REFUSAL: &[u8] = b"the sensor sends 16 bytes";
    let mut data = frame("x", DataType::F32, &[1, 4], &[0; SENSOR_BYTES]);
    assert_eq!(data.len(), FRAME_END as usize);
    data.extend(REFUSAL);
    data.resize((MORE - DATA) as usize, 0);
    data.extend(more);
    let refusal = error(DATA + FRAME_END, REFUSAL.len() as u32);
    let body = format!(
        r#"{first}
    (if (i32.ne (local.get $len) (i32.const {SENSOR_BYTES})) (then (return (i64.const {refusal}))))
    (memory.copy (i32.const {}) (local.get $ptr) (i32.const {SENSOR_BYTES}))
    (i64.const {})"#,
        DATA + TENSOR_DATA,
        output(DATA, FRAME_END)
    );
    plugin(imports, &data, &body)
}

/// The address of the `more` of [`sensor_pre`].
pub const MORE: u32 = 2048;

/// The identity model's `y` back to four raw floats. `first` runs before, and may return.
pub fn sensor_post(imports: &str, data: &[u8], first: &str) -> String {
    let body = format!(
        r#"{first}
    (i64.or (i64.shl (i64.extend_i32_u (i32.add (local.get $ptr) (i32.const {TENSOR_DATA}))) (i64.const 32))
            (i64.const {SENSOR_BYTES}))"#
    );
    plugin(imports, data, &body)
}
