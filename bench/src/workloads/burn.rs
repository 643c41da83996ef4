//! A compute-bound model: about two milliseconds per message in its pre plugin.

use std::fmt::Write as _;

use inferbus_abi::Returned;
use inferbus_abi::frame::{DataType, Tensor, encode};
use inferbus_catalog::{Activate, Bundle, Catalog, PushOptions};

pub const MODEL: &str = "burn";
const TURNS: u32 = 4_000_000;
const DATA: u32 = 1024;

pub async fn push(catalog: &Catalog) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
    file("model.onnx", &std::fs::read(crate::project::root().join("tests/models/identity.onnx"))?)?;
    file("pre.wasm", &wat::parse_str(plugin()?)?)?;
    let manifest = format!(
        "model = \"{MODEL}\"\nversion = \"1.0.0\"\nnetwork = \"model.onnx\"\n\
         [pre]\nwasm = \"pre.wasm\"\n[limits]\ntime = \"10s\"\n"
    );
    file("bundle.toml", manifest.as_bytes())?;
    let bundle = Bundle::read(folder.path())?;
    catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await?;
    catalog.activate(&bundle.name, &bundle.version, Activate::default()).await?;
    Ok(())
}

fn plugin() -> anyhow::Result<String> {
    let tensor = Tensor { name: "x", dtype: DataType::F32, shape: (&[1, 4]).into(), data: &[0; 16] };
    let frame = encode(&[tensor])?;
    let mut data = String::new();
    for byte in &frame {
        write!(data, "\\{byte:02x}")?;
    }
    let result = Returned::Output { ptr: DATA, len: u32::try_from(frame.len())? }.to_packed();
    Ok(format!(
        r#"(module
  (memory (export "memory") 4)
  (data (i32.const {DATA}) "{data}")
  (func (export "alloc") (param i32) (result i32) i32.const 65536)
  (func (export "transform") (param i32 i32) (result i64)
    (local $left i32)
    (local.set $left (i32.const {TURNS}))
    (loop (local.set $left (i32.sub (local.get $left) (i32.const 1))) (br_if 0 (local.get $left)))
    (i64.const {result})))"#
    ))
}
