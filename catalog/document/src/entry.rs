//! An entry: the artifacts and options of one version of a model, and its digest.
//!
//! Guarantees: an entry returned by [`Entry::parse`] is within every bound in `limits.rs`. Entries with equal content
//! have equal digests, independent of key order and white space.

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
    /// Converts the payload into the model's inputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pre: Option<Plugin>,
    /// Converts the model's outputs into the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post: Option<Plugin>,
    /// A test payload. A worker serves the version only after processing this payload without an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<Artifact>,
    /// Limits of one plugin call. Omitted keys use the worker's defaults.
    #[serde(default, skip_serializing_if = "Limits::is_default")]
    pub limits: Limits,
    /// Options for running the model. Omitted keys use the worker's defaults.
    #[serde(default, skip_serializing_if = "EngineOptions::is_default")]
    pub engine: EngineOptions,
    /// Free text for people and tools.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// A file in the Object Store, identified by its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The SHA-256 of the file.
    pub digest: Digest,
    /// The length of the file in bytes.
    #[schemars(range(min = 1))]
    pub size: u64,
}

/// A WebAssembly module and its permissions.
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
    /// The source language.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// The build tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub built_by: Option<String>,
    /// Passed to the plugin's `init` as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<Value>,
    /// The host functions available to the module.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub grants: Vec<Grant>,
}

/// The kind of WebAssembly binary.
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
    /// Publish additional messages below the route's output subject.
    Emit,
    /// Write to the worker's log.
    Log,
}

/// Limits of one plugin call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The size of the plugin's linear memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// The duration of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// The size of one result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<ByteSize>,
    /// The number of additional messages per call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emits: Option<u32>,
    /// The total size of all additional messages of one call, including their topics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emit_bytes: Option<ByteSize>,
    /// The number of log lines per call. Further lines are counted and dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_lines: Option<u32>,
    /// The total size of all log lines of one call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_bytes: Option<ByteSize>,
}

/// Options for running the model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EngineOptions {
    /// The number of messages computed concurrently: a number, or `auto` for one per compute thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lanes: Option<Lanes>,
    /// The number of threads in one run of the model. Each worker limits this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The maximum duration of one run of the model. The worker stops a longer run. The default is 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Span>,
    /// The execution provider of ONNX Runtime. Unsupported operators run on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<Provider>,
    /// Whether ONNX Runtime keeps allocated memory between runs. The default is true.
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

/// Batching of messages. Without `min`, a free compute thread takes the messages waiting at that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// The maximum number of messages in a batch.
    #[schemars(range(min = 1))]
    pub max: u32,
    /// Wait for this number of messages, but at most for `max_delay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// The maximum wait of a message for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_delay: Option<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    Auto,
    Count(u32),
}

impl Entry {
    /// The canonical form: sorted keys, no white space. The catalog stores this form.
    pub fn canonical(&self) -> Vec<u8> {
        // Cannot fail: every key is a string and every number is finite.
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

    /// The number of lanes for this model in a worker with `available` lanes.
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

/// The JSON Schema of an entry, for editors. Only [`Entry::parse`] checks dependencies between keys.
pub fn entry_schema() -> Value {
    schemars::schema_for!(Entry).to_value()
}
