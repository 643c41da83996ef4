//! Bundles on disk: the digit classifier as shipped, and bundles with plugins in WAT.

use std::path::{Path, PathBuf};

use inferbus_catalog::Bundle;
use tempfile::TempDir;

use crate::plugin::{sensor_post, sensor_pre};
use crate::root;

/// The identity of an f32 tensor, `x` → `y`, of shape `[batch, 4]`.
pub const IDENTITY_MODEL: &[u8] = include_bytes!("../models/identity.onnx");

/// The folder of a shipped version of the digit classifier.
pub fn digits(version: &str) -> PathBuf {
    let folder = root().join(format!("plugins/examples/digits/bundle-{version}"));
    assert!(root().join("plugins/dist").is_dir(), "the plugins are not built: run `make plugins`");
    folder
}

/// A folder with a bundle.toml and its files.
pub struct BundleFolder {
    folder: TempDir,
    manifest: String,
}

impl BundleFolder {
    pub fn new(model: &str, version: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let bundle = Self {
            folder,
            manifest: format!("model = \"{model}\"\nversion = \"{version}\"\nnetwork = \"model.onnx\"\n"),
        };
        bundle.file("model.onnx", IDENTITY_MODEL);
        bundle
    }

    /// A bundle with the sensor's bytes as its result.
    pub fn sensor(model: &str, version: &str) -> Self {
        let (pre, post) = (sensor_pre("", b"", ""), sensor_post("", b"", ""));
        Self::new(model, version).plugin("pre", &pre, "").plugin("post", &post, "")
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.folder.path().join(name), bytes).expect("a bundle's file");
    }

    pub fn network(self, onnx: &[u8]) -> Self {
        self.file("model.onnx", onnx);
        self
    }

    /// Adds a plugin written as WebAssembly text; `more` is further TOML of its table.
    pub fn plugin(self, stage: &str, wat: &str, more: &str) -> Self {
        let wasm = wat::parse_str(wat).unwrap_or_else(|fault| panic!("{fault}"));
        self.wasm(stage, &wasm, more)
    }

    /// Adds a plugin of any bytes.
    pub fn wasm(mut self, stage: &str, wasm: &[u8], more: &str) -> Self {
        self.file(&format!("{stage}.wasm"), wasm);
        self.manifest.push_str(&format!("[{stage}]\nwasm = \"{stage}.wasm\"\n{more}\n"));
        self
    }

    /// Adds TOML at the end of the manifest, for example a `[limits]` table.
    pub fn table(mut self, toml: &str) -> Self {
        self.manifest.push_str(toml);
        self.manifest.push('\n');
        self
    }

    /// Adds a sample to the bundle; it must pass before the bundle serves.
    pub fn sample(mut self, payload: &[u8]) -> Self {
        self.file("sample.bin", payload);
        self.manifest.insert_str(0, "sample = \"sample.bin\"\n");
        self
    }

    /// Writes the manifest and returns the folder's path; the files live as long as `self`.
    pub fn path(&self) -> &Path {
        self.file("bundle.toml", self.manifest.as_bytes());
        self.folder.path()
    }

    pub fn read(&self) -> Bundle {
        Bundle::read(self.path()).unwrap_or_else(|fault| panic!("{fault}"))
    }
}
