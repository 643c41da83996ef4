//! An entry: everything that one version of a model is made of, and the digest that pins it.
//!
//! Promises: an entry that came from [`Entry::parse`] keeps to every bound in `limits.rs`, and two entries
//! with the same content have the same digest, however they were written.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::canonical::canonical;
use crate::digest::Digest;
use crate::units::{ByteSize, Span};

/// One version of a model.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The ONNX file.
    pub model: Artifact,
    /// Turns the payload into the model's inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre: Option<Plugin>,
    /// Turns the model's outputs into the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post: Option<Plugin>,
    /// A payload that must go through without an error before a worker lets the version serve.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Artifact>,
    /// What one call of a plugin may use. Omitted keys use the worker's defaults.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// How the model is run. Omitted keys use the worker's defaults.
    #[serde(default, skip_serializing_if = "EngineOptions::is_default")]
    pub engine: EngineOptions,
    /// Free text for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A file in the Object Store, named by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// The length of the file in bytes.
    #[schemars(range(min = 1))]
    pub size: u64,
}

/// A WebAssembly module and what it may do.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The SHA-256 of the module.
    pub digest: Digest,
    /// The length of the module in bytes.
    #[schemars(range(min = 1))]
    pub size: u64,
    #[serde(default)]
    pub kind: PluginKind,
    /// The language that it was written in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The tool that built it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_by: Option<String>,
    /// Handed to the plugin's `init` as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The host functions that it may import.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// What kind of WebAssembly a plugin is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PluginKind {
    /// A core module.
    #[default]
    Module,
}

/// A host function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// Send extra messages under the route's output.
    Emit,
    /// Write to the worker's log.
    Log,
}

/// What one call of a plugin may use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The plugin's linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// The time of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// The length of one result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<ByteSize>,
    /// The number of extra messages of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emits: Option<u32>,
    /// The extra messages of one call taken together, topics included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit_bytes: Option<ByteSize>,
    /// The number of log lines of one call. What is beyond is counted and dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<u32>,
    /// The log lines of one call taken together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<ByteSize>,
}

/// How the model is run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineOptions {
    /// How many messages are computed at the same time: a number, or `auto` for one per compute thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
    /// Threads inside one run of the model. A worker has a ceiling on them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The time of one run of the model, after which it is stopped. 10 s unless it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// What ONNX Runtime runs the model on. What that cannot run, the processor does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whether ONNX Runtime keeps the memory of one run for the next; it does unless this is false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arena: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<Batch>,
}

/// An execution provider of ONNX Runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    #[default]
    Cpu,
    Cuda,
    Tensorrt,
    Openvino,
}

/// Messages that are computed together: what waits when a compute thread is free, unless `min` asks for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// At most this many.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// Wait for this many, but never longer than `max_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// How long a message may wait for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    Auto,
    Count(u32),
}

impl Entry {
    /// The one spelling of this entry: keys sorted, no white space. This is what is stored.
    pub fn canonical(&self) -> Vec<u8> {
        // Every key of an entry is a string and every number is finite, so this cannot fail.
        serde_json::to_value(self).map(|value| canonical(&value)).unwrap_or_default()
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.canonical())
    }
}

impl Plugin {
    pub fn artifact(&self) -> Artifact {
        Artifact { digest: self.digest, size: self.size }
    }
}

impl Limits {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl EngineOptions {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// How many lanes run the model where a worker has `available`.
    pub fn lanes(&self, available: usize) -> usize {
        match self.lanes {
            Some(Lanes::Count(count)) => count as usize,
            Some(Lanes::Auto) | None => available,
        }
    }

    pub fn threads(&self) -> usize {
        self.threads.map_or(1, |threads| threads as usize)
    }
}

impl Serialize for Lanes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Count(count) => serializer.serialize_u32(*count),
        }
    }
}

impl JsonSchema for Lanes {
    fn schema_name() -> Cow<'static, str> {
        "Lanes".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "oneOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1 }] })
    }
}

/// The JSON Schema of an entry, for editors. Bounds that depend on one another are checked by [`Entry::parse`].
pub fn entry_schema() -> Value {
    schemars::schema_for!(Entry).to_value()
}
