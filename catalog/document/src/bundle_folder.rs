//! Reads a bundle folder: the manifest `bundle.toml` and its files.
//!
//! Guarantees: a returned bundle is complete and within every bound. Its entry names exactly its files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use semver::Version;
use serde_json::{Map, Value};

use crate::digest::Digest;
use crate::entry::{Artifact, EngineOptions, Entry, Grant, Limits, Plugin, PluginKind};
use crate::entry_parse::{config, engine, grants, kind, limits_of};
use crate::fields::{Node, read_value, text_map};
use crate::limits;
use crate::names::{ModelName, parse_version};
use crate::problems::Problems;
use crate::steps::Role;

const MANIFEST: &str = "bundle.toml";

/// One version of a model with the contents of all files.
#[derive(Clone, Debug)]
pub struct Bundle {
    pub name: ModelName,
    pub version: Version,
    pub entry: Entry,
    files: BTreeMap<Digest, Bytes>,
}

#[derive(Debug, thiserror::Error)]
pub enum BundleFault {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} has {size} bytes; at most {limit} are allowed", path.display())]
    TooLarge { path: PathBuf, size: u64, limit: u64 },
    #[error("{} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("{} is not valid: {problems}", path.display())]
    Manifest { path: PathBuf, problems: Problems },
}

impl Bundle {
    /// Reads `bundle.toml` in `folder` and every file named there. Blocks.
    pub fn read(folder: &Path) -> Result<Self, BundleFault> {
        let path = folder.join(MANIFEST);
        let text = read_file(&path, limits::MANIFEST_BYTES)?;
        let manifest = Manifest::parse(&text).map_err(|problems| BundleFault::Manifest { path, problems })?;
        let mut files = BTreeMap::new();
        let mut take = |name: &Path, limit| -> Result<Artifact, BundleFault> {
            let bytes = read_file(&folder.join(name), limit)?;
            let artifact = Artifact { digest: Digest::of(&bytes), size: bytes.len() as u64 };
            files.insert(artifact.digest, bytes);
            Ok(artifact)
        };
        let model = take(&manifest.network, limits::ARTIFACT_BYTES)?;
        let mut plugin = |source: Option<PluginSource>| -> Result<Option<Plugin>, BundleFault> {
            source.map(|source| Ok(source.plugin(take(&source.wasm, limits::PLUGIN_BYTES)?))).transpose()
        };
        let (pre, post) = (plugin(manifest.pre.clone())?, plugin(manifest.post.clone())?);
        let sample = manifest.sample.as_ref().map(|sample| take(sample, limits::SAMPLE_BYTES)).transpose()?;
        let Manifest { model: name, version, limits, engine, labels, .. } = manifest;
        let entry = Entry { model, pre, post, sample, limits, engine, labels };
        Ok(Self { name, version, entry, files })
    }

    /// The content of the artifact with this role.
    pub fn file(&self, role: Role) -> Option<&Bytes> {
        let (_, artifact) = self.entry.artifacts().find(|(found, _)| *found == role)?;
        self.files.get(&artifact.digest)
    }
}

fn read_file(path: &Path, limit: u64) -> Result<Bytes, BundleFault> {
    let fault = |source| BundleFault::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(fault)?;
    let size = file.metadata().map_err(fault)?.len();
    if size > limit {
        return Err(BundleFault::TooLarge { path: path.to_owned(), size, limit });
    }
    // The file can grow after the check of its size.
    let mut bytes = Vec::new();
    let read = file.take(limit + 1).read_to_end(&mut bytes).map_err(fault)? as u64;
    match read {
        0 => Err(BundleFault::Empty { path: path.to_owned() }),
        size if size > limit => Err(BundleFault::TooLarge { path: path.to_owned(), size, limit }),
        _ => Ok(bytes.into()),
    }
}

struct Manifest {
    model: ModelName,
    version: Version,
    network: PathBuf,
    pre: Option<PluginSource>,
    post: Option<PluginSource>,
    sample: Option<PathBuf>,
    limits: Limits,
    engine: EngineOptions,
    labels: BTreeMap<String, String>,
}

#[derive(Clone)]
struct PluginSource {
    wasm: PathBuf,
    kind: PluginKind,
    language: Option<String>,
    built_by: Option<String>,
    config: Option<Value>,
    grants: Vec<Grant>,
}

impl PluginSource {
    fn plugin(&self, artifact: Artifact) -> Plugin {
        let Self { kind, language, built_by, config, grants, .. } = self.clone();
        Plugin { digest: artifact.digest, size: artifact.size, kind, language, built_by, config, grants }
    }
}

impl Manifest {
    fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        let text = std::str::from_utf8(bytes).map_err(|error| Problems::whole(format!("not UTF-8 text: {error}")))?;
        let table: toml::Table = text.parse().map_err(|error| Problems::whole(format!("not valid TOML: {error}")))?;
        let value = Value::Object(object_of(table).map_err(Problems::whole)?);
        read_value(&value, manifest)
    }
}

fn manifest(node: &Node<'_>) -> Option<Manifest> {
    let known = ["model", "version", "network", "pre", "post", "sample", "limits", "engine", "labels"];
    let fields = node.fields(&known)?;
    let model = fields.required("model").and_then(|node| node.parsed());
    let version = fields.required("version").and_then(|node| node.checked(parse_version));
    let network = fields.required("network").and_then(|node| path(&node));
    let pre = fields.optional("pre").and_then(|node| plugin_source(&node));
    let post = fields.optional("post").and_then(|node| plugin_source(&node));
    let sample = fields.optional("sample").and_then(|node| path(&node));
    let limits = fields.optional("limits").and_then(|node| limits_of(&node)).unwrap_or_default();
    let engine = fields.optional("engine").and_then(|node| engine(&node)).unwrap_or_default();
    let labels = fields.optional("labels").and_then(|node| text_map(&node, limits::LABELS)).unwrap_or_default();
    Some(Manifest { model: model?, version: version?, network: network?, pre, post, sample, limits, engine, labels })
}

fn plugin_source(node: &Node<'_>) -> Option<PluginSource> {
    let fields = node.fields(&["wasm", "kind", "language", "built_by", "config", "grants"])?;
    let wasm = fields.required("wasm").and_then(|node| path(&node));
    let kind = fields.optional("kind").and_then(|node| kind(&node)).unwrap_or_default();
    let language = fields.optional("language").and_then(|node| node.plain_text());
    let built_by = fields.optional("built_by").and_then(|node| node.plain_text());
    let config = fields.optional("config").and_then(|node| config(&node));
    let grants = fields.optional("grants").and_then(|node| grants(&node)).unwrap_or_default();
    Some(PluginSource { wasm: wasm?, kind, language, built_by, config, grants })
}

/// All files of a bundle are inside its folder, so the folder can be moved or archived.
fn path(node: &Node<'_>) -> Option<PathBuf> {
    let path = PathBuf::from(node.text()?);
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if inside && path.file_name().is_some() {
        return Some(path);
    }
    node.problem("name a file inside the bundle's folder, without `..` or a leading `/`");
    None
}

fn object_of(table: toml::Table) -> Result<Map<String, Value>, String> {
    table.into_iter().map(|(key, value)| Ok((key, json_of(value)?))).collect()
}

fn json_of(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Boolean(truth) => truth.into(),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json_of).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => Value::Object(object_of(table)?),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} cannot be written as JSON; use a finite number"))?,
    })
}
