//! A bundle folder for the tests.

use inferbus_catalog_document::Bundle;

/// A bundle with three files of the given contents.
pub fn bundle(name: &str, version: &str, model: &[u8], pre: &[u8], post: &[u8]) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "model = {name:?}\nversion = {version:?}\nnetwork = \"model.onnx\"\n\
         [pre]\nwasm = \"pre.wasm\"\ngrants = [\"log\"]\n[post]\nwasm = \"post.wasm\"\n"
    );
    for (file, bytes) in
        [("bundle.toml", manifest.as_bytes()), ("model.onnx", model), ("pre.wasm", pre), ("post.wasm", post)]
    {
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    Bundle::read(folder.path()).unwrap()
}
