//! Parses an entry from JSON and reports every problem. The bundle manifest shares the parsers of the parts.

use serde_json::Value;

use crate::canonical::canonical;
use crate::entry::{Artifact, Batch, EngineOptions, Entry, Grant, Lanes, Limits, Plugin, PluginKind, Provider};
use crate::fields::{Node, read_json, span, text_map};
use crate::limits;
use crate::problems::Problems;
use crate::text::excerpt;
use crate::units::ByteSize;

impl Entry {
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        read_json(bytes, entry)
    }
}

fn entry(node: &Node<'_>) -> Option<Entry> {
    let fields = node.fields(&["model", "pre", "post", "sample", "limits", "engine", "labels"])?;
    let model = fields.required("model").and_then(|node| artifact(&node, limits::ARTIFACT_BYTES));
    let pre = fields.optional("pre").and_then(|node| plugin(&node));
    let post = fields.optional("post").and_then(|node| plugin(&node));
    let sample = fields.optional("sample").and_then(|node| artifact(&node, limits::SAMPLE_BYTES));
    let limits = fields.optional("limits").and_then(|node| limits_of(&node)).unwrap_or_default();
    let engine = fields.optional("engine").and_then(|node| engine(&node)).unwrap_or_default();
    let labels = fields.optional("labels").and_then(|node| text_map(&node, limits::LABELS)).unwrap_or_default();
    Some(Entry { model: model?, pre, post, sample, limits, engine, labels })
}

fn artifact(node: &Node<'_>, most: u64) -> Option<Artifact> {
    let fields = node.fields(&["digest", "size"])?;
    let digest = fields.required("digest").and_then(|node| node.parsed());
    let size = fields.required("size").and_then(|node| node.number(1..=most));
    Some(Artifact { digest: digest?, size: size? })
}

fn plugin(node: &Node<'_>) -> Option<Plugin> {
    let fields = node.fields(&["digest", "size", "kind", "language", "built_by", "config", "grants"])?;
    let digest = fields.required("digest").and_then(|node| node.parsed());
    let size = fields.required("size").and_then(|node| node.number(1..=limits::PLUGIN_BYTES));
    let kind = fields.optional("kind").and_then(|node| kind(&node)).unwrap_or_default();
    let language = fields.optional("language").and_then(|node| node.plain_text());
    let built_by = fields.optional("built_by").and_then(|node| node.plain_text());
    let config = fields.optional("config").and_then(|node| config(&node));
    let grants = fields.optional("grants").and_then(|node| grants(&node)).unwrap_or_default();
    Some(Plugin { digest: digest?, size: size?, kind, language, built_by, config, grants })
}

pub(crate) fn kind(node: &Node<'_>) -> Option<PluginKind> {
    match node.text()? {
        "module" => Some(PluginKind::Module),
        other => {
            node.problem(format!("{} is not a kind of plugin; allowed: module", excerpt(other)));
            None
        }
    }
}

pub(crate) fn config(node: &Node<'_>) -> Option<Value> {
    let len = canonical(node.value).len();
    if len > limits::CONFIG_BYTES {
        node.problem(format!("{len} bytes of JSON; at most {} are allowed", limits::CONFIG_BYTES));
        return None;
    }
    Some(node.value.clone())
}

/// Sorted, because the order must not affect the digest.
pub(crate) fn grants(node: &Node<'_>) -> Option<Vec<Grant>> {
    let mut grants = Vec::new();
    for item in node.items()? {
        let grant = match item.text() {
            Some("emit") => Grant::Emit,
            Some("log") => Grant::Log,
            Some(other) => {
                item.problem(format!("{} cannot be granted; allowed: emit, log", excerpt(other)));
                continue;
            }
            None => continue,
        };
        if grants.contains(&grant) {
            item.problem("granted twice; remove one");
        } else {
            grants.push(grant);
        }
    }
    grants.sort_unstable();
    Some(grants)
}

pub(crate) fn limits_of(node: &Node<'_>) -> Option<Limits> {
    let fields = node.fields(&["memory", "time", "output", "emits", "emit_bytes", "log_lines", "log_bytes"])?;
    Some(Limits {
        memory: fields.optional("memory").and_then(|node| size(&node, limits::ENTRY_MEMORY)),
        time: fields.optional("time").and_then(|node| span(&node, limits::ENTRY_TIME)),
        output: fields.optional("output").and_then(|node| size(&node, limits::ENTRY_OUTPUT)),
        emits: fields.optional("emits").and_then(|node| small(&node, limits::ENTRY_EMITS)),
        emit_bytes: fields.optional("emit_bytes").and_then(|node| size(&node, limits::ENTRY_EMIT_BYTES)),
        log_lines: fields.optional("log_lines").and_then(|node| small(&node, limits::ENTRY_LOG_LINES)),
        log_bytes: fields.optional("log_bytes").and_then(|node| size(&node, limits::ENTRY_LOG_BYTES)),
    })
}

pub(crate) fn engine(node: &Node<'_>) -> Option<EngineOptions> {
    let fields = node.fields(&["lanes", "threads", "time", "provider", "arena", "batch"])?;
    Some(EngineOptions {
        lanes: fields.optional("lanes").and_then(|node| lanes(&node)),
        threads: fields.optional("threads").and_then(|node| small(&node, limits::ENTRY_THREADS)),
        time: fields.optional("time").and_then(|node| span(&node, limits::ENTRY_RUN_TIME)),
        provider: fields.optional("provider").and_then(|node| provider(&node)),
        arena: fields.optional("arena").and_then(|node| yes_or_no(&node)),
        batch: fields.optional("batch").and_then(|node| batch(&node)),
    })
}

fn lanes(node: &Node<'_>) -> Option<Lanes> {
    match node.value {
        Value::String(text) if text == "auto" => Some(Lanes::Auto),
        Value::String(text) => {
            node.problem(format!("{} is not a number of lanes; write a number or \"auto\"", excerpt(text)));
            None
        }
        _ => small(node, limits::ENTRY_LANES).map(Lanes::Count),
    }
}

fn provider(node: &Node<'_>) -> Option<Provider> {
    match node.text()? {
        "cpu" => Some(Provider::Cpu),
        "cuda" => Some(Provider::Cuda),
        "tensorrt" => Some(Provider::Tensorrt),
        "openvino" => Some(Provider::Openvino),
        other => {
            let allowed = "allowed: cpu, cuda, tensorrt, openvino";
            node.problem(format!("{} is not a known provider; {allowed}", excerpt(other)));
            None
        }
    }
}

fn yes_or_no(node: &Node<'_>) -> Option<bool> {
    let answer = node.value.as_bool();
    if answer.is_none() {
        node.problem("expected true or false");
    }
    answer
}

fn batch(node: &Node<'_>) -> Option<Batch> {
    let fields = node.fields(&["max", "min", "max_delay"])?;
    let max = fields.required("max").and_then(|node| small(&node, limits::ENTRY_BATCH))?;
    let min = fields.optional("min").and_then(|node| small(&node, 1..=u64::from(max)));
    let delay = fields.optional("max_delay");
    let max_delay = delay.as_ref().and_then(|node| span(node, limits::ENTRY_BATCH_DELAY));
    // Either key alone would mean an endless wait or no wait.
    if min.is_some_and(|min| min > 1) != delay.is_some() {
        node.problem("`min` above 1 and `max_delay` belong together: give both, or neither");
        return None;
    }
    Some(Batch { max, min, max_delay })
}

fn small(node: &Node<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u32> {
    node.number(range).and_then(|number| u32::try_from(number).ok())
}

fn size(node: &Node<'_>, range: std::ops::RangeInclusive<u64>) -> Option<ByteSize> {
    let size: ByteSize = node.parsed()?;
    if range.contains(&(size.bytes() as u64)) {
        return Some(size);
    }
    let (least, most) = (ByteSize::new(*range.start()), ByteSize::new(*range.end()));
    node.problem(format!("{size} is out of range; allowed: {least} to {most}"));
    None
}
