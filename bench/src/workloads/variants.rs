//! Copies of the digit model with different digests of all files.

use anyhow::Context as _;
use async_nats::jetstream::kv::Store;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use inferbus_catalog::{Activate, Bundle, Catalog, PushOptions};
use inferbus_testkit::onnx::wrap;
use serde_json::{Value, json};

use crate::project::root;

/// The field of a network's description. The runtime ignores it.
const DOC_STRING: u64 = 6;
/// Concurrent pushes.
const AT_ONCE: usize = 8;
const PUTS_AT_ONCE: usize = 128;

/// Pushes one copy. Each file contains `text`, without an effect on its function.
pub async fn push(catalog: &Catalog, model: &str, version: &str, text: &str, activate: bool) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes);
    let network = root().join("plugins/examples/digits/model/digits.onnx");
    let network = std::fs::read(&network).with_context(|| network.display().to_string())?;
    write("model.onnx", [network, wrap(DOC_STRING, text.as_bytes())].concat())?;
    for stage in ["pre", "post"] {
        let file = root().join(format!("plugins/dist/digits-{stage}-1.0.0.wasm"));
        let wasm = std::fs::read(&file).with_context(|| format!("{}: run `make plugins` first", file.display()))?;
        write(&format!("{stage}.wasm"), [wasm, custom_section(text)?].concat())?;
    }
    let stage = |name: &str| format!("[{name}]\nwasm = \"{name}.wasm\"\nlanguage = \"rust\"\ngrants = [\"log\"]\n");
    let head = format!("model = \"{model}\"\nversion = \"{version}\"\nnetwork = \"model.onnx\"\n");
    write("bundle.toml", [head, stage("pre"), stage("post")].concat().into_bytes())?;
    let bundle = Bundle::read(folder.path())?;
    catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await?;
    if activate {
        catalog.activate(&bundle.name, &bundle.version, Activate::default()).await?;
    }
    Ok(())
}

/// Pushes and activates models, and returns their names.
pub async fn push_many(catalog: &Catalog, numbers: std::ops::Range<usize>) -> anyhow::Result<Vec<String>> {
    let names: Vec<String> = numbers.map(|number| format!("m{number:05}")).collect();
    let pushes = stream::iter(&names).map(|name| push(catalog, name, "1.0.0", name, true));
    pushes.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    Ok(names)
}

/// Puts active models with the files of another one. Their entries have different digests; files are stored once.
pub async fn copy(models: &Store, model: &str, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    let entry = models.get(format!("{model}.1.0.0")).await?.context("the entry of the first model")?;
    let entry: Value = serde_json::from_slice(&entry)?;
    let puts = stream::iter(numbers).map(|number| {
        let (name, mut entry) = (format!("m{number:05}"), entry.clone());
        entry["labels"] = json!({ "name": name });
        async move {
            models.put(format!("{name}.1.0.0"), entry.to_string().into()).await?;
            models.put(&name, "1.0.0".into()).await?;
            anyhow::Ok(())
        }
    });
    puts.buffer_unordered(PUTS_AT_ONCE).try_collect().await
}

/// A WebAssembly section with an empty name. The length of the text is one byte.
fn custom_section(text: &str) -> anyhow::Result<Vec<u8>> {
    let length = u8::try_from(text.len() + 1).ok().filter(|length| *length < 0x80).context("the text is too long")?;
    Ok([&[0, length, 0], text.as_bytes()].concat())
}
