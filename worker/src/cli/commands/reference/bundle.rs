//! The page of `bundle.toml`: keys and meanings from the schema of entries, bounds and defaults from the limits.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::Context as _;
use inferbus_catalog::{ByteSize, Span, entry_schema, limits as catalog};
use inferbus_engine::limits as engine;
use inferbus_sandbox::limits as sandbox;
use serde_json::Value;

use super::markdown::{code, codes, paragraph, sentence, table};

const INTRODUCTION: &str = "\
A bundle is a folder with the file `bundle.toml` and the files named there. `inferbus check` reports every violation of
this page. [Write a bundle](../howto/write-a-bundle.md) explains the choices.

- A *file* is a path inside the folder, without `..` or a leading `/`.
- A *size* is a text such as `\"64MiB\"`, with the unit `B`, `KiB`, `MiB` or `GiB`.
- A *time* is a text such as `\"50ms\"`, with the unit `us`, `ms` or `s`.

Each worker has further ceilings: see [Configuration](config.md).
";

const PLUGINS: &str = "\
`pre` converts the payload into the inputs of the model. `post` converts the outputs of the model into the result. Both
are optional.";

/// The keys outside of the schema: an entry contains digests instead of them.
const MANIFEST: [(&str, &str, &str); 4] = [
    ("model", "text", "The name of the model"),
    ("version", "text", "The version of the bundle, as a semantic version"),
    ("network", "file", "The ONNX file"),
    ("sample", "file", ""),
];
/// The keys of artifacts in an entry. A bundle names a file instead.
const ARTIFACT: [&str; 2] = ["digest", "size"];

pub fn page() -> anyhow::Result<String> {
    let schema = entry_schema();
    let mut page = format!("# Bundle\n\n{INTRODUCTION}\n## Top level\n\n");
    page += &keys(top_level(&schema)?);
    let wasm = row("pre.wasm", "wasm", "file", "The WebAssembly module")?;
    page += &format!("## `[pre]` and `[post]`\n\n{}", paragraph(PLUGINS));
    page += &keys([vec![wasm], rows(&schema, "pre")?].concat());
    for (table, heading) in [("limits", "`[limits]`"), ("engine", "`[engine]`"), ("engine.batch", "`engine.batch`")] {
        let about = description(&schema, property(&schema, table)?);
        page += &format!("## {heading}\n\n{}{}", paragraph(&about), keys(rows(&schema, table)?));
    }
    Ok(page.trim_end().to_owned() + "\n")
}

fn keys(rows: Vec<[String; 5]>) -> String {
    table(["key", "type", "default", "bounds", "meaning"], rows)
}

fn top_level(schema: &Value) -> anyhow::Result<Vec<[String; 5]>> {
    let mut rows = Vec::new();
    for (key, kind, meaning) in MANIFEST {
        let meaning = if meaning.is_empty() { description(schema, property(schema, key)?) } else { meaning.to_owned() };
        rows.push(row(key, key, kind, &meaning)?);
    }
    let labels = property(schema, "labels")?;
    rows.push(row("labels", "labels", &kind(schema, labels), &description(schema, labels))?);
    Ok(rows)
}

/// The keys of one table of the schema.
fn rows(schema: &Value, table: &str) -> anyhow::Result<Vec<[String; 5]>> {
    let object = resolved(schema, property(schema, table)?);
    let properties = object["properties"].as_object().with_context(|| format!("`{table}` is not a table"))?;
    let shown = properties.iter().filter(|(key, _)| !ARTIFACT.contains(&key.as_str()));
    shown
        .map(|(key, value)| row(&format!("{table}.{key}"), key, &kind(schema, value), &description(schema, value)))
        .collect()
}

fn row(path: &str, key: &str, kind: &str, meaning: &str) -> anyhow::Result<[String; 5]> {
    let (default, bounds) =
        bounds(path).with_context(|| format!("reference/bundle.rs lacks the bounds of `{path}`"))?;
    Ok([code(key), kind.to_owned(), default, bounds, sentence(meaning)])
}

/// The property at a path such as `engine.batch`.
fn property<'a>(schema: &'a Value, path: &str) -> anyhow::Result<&'a Value> {
    let mut found = schema;
    for key in path.split('.') {
        found = resolved(schema, found)["properties"].get(key).with_context(|| format!("no key `{path}`"))?;
    }
    Ok(found)
}

/// The definition behind a reference or an optional value.
fn resolved<'a>(schema: &'a Value, value: &'a Value) -> &'a Value {
    if let Some(name) = value["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        return &schema["$defs"][name];
    }
    match value["anyOf"].as_array().and_then(|options| options.first()) {
        Some(option) => resolved(schema, option),
        None => value,
    }
}

fn description(schema: &Value, value: &Value) -> String {
    let of = |value: &Value| value["description"].as_str().map(ToOwned::to_owned);
    of(value).or_else(|| of(resolved(schema, value))).unwrap_or_default()
}

fn kind(schema: &Value, value: &Value) -> String {
    let value = resolved(schema, value);
    let words = |values: &Value, of: fn(&Value) -> &Value| {
        codes(values.as_array().into_iter().flatten().filter_map(|value| of(value).as_str()))
    };
    if value["enum"].is_array() {
        return words(&value["enum"], |value| value);
    }
    if value["oneOf"].is_array() {
        let named = words(&value["oneOf"], |option| &option["const"]);
        let number = value["oneOf"].as_array().is_some_and(|all| all.iter().any(|option| option["type"] == "integer"));
        return if number { format!("number, {named}") } else { named };
    }
    if let Some(pattern) = value["pattern"].as_str() {
        return if pattern.contains("KiB") { "size" } else { "time" }.to_owned();
    }
    let plain = value["type"].as_str().or_else(|| value["type"][0].as_str());
    match plain {
        Some("integer") => "number".to_owned(),
        Some("string") => "text".to_owned(),
        Some("array") => format!("list of {}", kind(schema, &value["items"])),
        Some("object") if value["additionalProperties"].is_object() => "table of texts".to_owned(),
        Some("object") => "table".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// The default and the bounds of each key.
fn bounds(path: &str) -> Option<(String, String)> {
    let required = || "required".to_owned();
    Some(match path {
        "model" => (required(), format!("at most {} bytes", catalog::NAME_BYTES)),
        "version" => (required(), format!("at most {} bytes", catalog::VERSION_BYTES)),
        "network" => (required(), at_most(catalog::ARTIFACT_BYTES)),
        "sample" => ("none".to_owned(), at_most(catalog::SAMPLE_BYTES)),
        "labels" => ("none".to_owned(), format!("{} labels of {} bytes", catalog::LABELS, catalog::TEXT_BYTES)),
        "pre.wasm" => (required(), at_most(sandbox::MODULE_BYTES as u64)),
        "pre.kind" => (code("module"), String::new()),
        "pre.language" | "pre.built_by" => ("none".to_owned(), format!("at most {} bytes", catalog::TEXT_BYTES)),
        "pre.config" => ("none".to_owned(), format!("{} as JSON", at_most(catalog::CONFIG_BYTES as u64))),
        "pre.grants" => ("none".to_owned(), String::new()),
        "limits.memory" => (size(sandbox::MEMORY as u64), sizes(catalog::ENTRY_MEMORY)),
        "limits.time" => (time(sandbox::TIME), times(catalog::ENTRY_TIME)),
        "limits.output" => (size(sandbox::OUTPUT as u64), sizes(catalog::ENTRY_OUTPUT)),
        "limits.emits" => (sandbox::EMITS.to_string(), numbers(catalog::ENTRY_EMITS)),
        "limits.emit_bytes" => (size(sandbox::EMIT_BYTES as u64), sizes(catalog::ENTRY_EMIT_BYTES)),
        "limits.log_lines" => (sandbox::LOG_LINES.to_string(), numbers(catalog::ENTRY_LOG_LINES)),
        "limits.log_bytes" => (size(sandbox::LOG_BYTES as u64), sizes(catalog::ENTRY_LOG_BYTES)),
        "engine.lanes" => (code("auto"), numbers(catalog::ENTRY_LANES)),
        "engine.threads" => ("1".to_owned(), numbers(catalog::ENTRY_THREADS)),
        "engine.time" => (time(engine::RUN_TIME), times(catalog::ENTRY_RUN_TIME)),
        "engine.provider" => (code("cpu"), String::new()),
        "engine.arena" => (code("true"), String::new()),
        "engine.batch" => ("none".to_owned(), String::new()),
        "engine.batch.max" => (required(), numbers(catalog::ENTRY_BATCH)),
        "engine.batch.min" => ("1".to_owned(), "1 to `max`".to_owned()),
        "engine.batch.max_delay" => ("required with `min` above 1".to_owned(), times(catalog::ENTRY_BATCH_DELAY)),
        _ => return None,
    })
}

fn size(bytes: u64) -> String {
    ByteSize::new(bytes).to_string()
}

fn time(duration: Duration) -> String {
    Span::from_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)).to_string()
}

fn at_most(bytes: u64) -> String {
    format!("at most {}", size(bytes))
}

fn numbers(range: RangeInclusive<u64>) -> String {
    format!("{} to {}", range.start(), range.end())
}

fn sizes(range: RangeInclusive<u64>) -> String {
    format!("{} to {}", size(*range.start()), size(*range.end()))
}

fn times(range: RangeInclusive<Duration>) -> String {
    format!("{} to {}", time(*range.start()), time(*range.end()))
}
