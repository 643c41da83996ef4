//! Typed access to a JSON value. Parsers find all problems in one pass, each with its path.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::limits;
use crate::problems::{Problems, Report};
use crate::text::excerpt;
use crate::units::Span;

/// A value, its path, and the report for its problems.
pub(crate) struct Node<'a> {
    pub(crate) value: &'a Value,
    path: String,
    report: &'a Report,
}

/// The keys of one object. Unknown keys are already reported.
pub(crate) struct Fields<'a> {
    object: &'a Map<String, Value>,
    path: String,
    report: &'a Report,
}

/// Parses JSON text and passes it to `read`. A `read` returning `None` must have reported a problem.
pub(crate) fn read_json<T>(bytes: &[u8], read: impl FnOnce(&Node<'_>) -> Option<T>) -> Result<T, Problems> {
    if bytes.len() > limits::DOCUMENT_BYTES {
        let (len, limit) = (bytes.len(), limits::DOCUMENT_BYTES);
        return Err(Problems::whole(format!("it is {len} bytes long; at most {limit} are allowed")));
    }
    let value = serde_json::from_slice(bytes).map_err(|error| Problems::whole(format!("not valid JSON: {error}")))?;
    read_value(&value, read)
}

pub(crate) fn read_value<T>(value: &Value, read: impl FnOnce(&Node<'_>) -> Option<T>) -> Result<T, Problems> {
    let report = Report::default();
    let found = read(&Node { value, path: String::new(), report: &report });
    report.finish(found)
}

impl<'a> Node<'a> {
    pub(crate) fn problem(&self, what: impl Into<String>) {
        self.report.add(&self.path, what);
    }

    fn expected<T>(&self, what: &str) -> Option<T> {
        self.problem(format!("expected {what}, found {}", kind(self.value)));
        None
    }

    /// The value as an object. Reports all keys except `known`.
    pub(crate) fn fields(&self, known: &[&str]) -> Option<Fields<'a>> {
        let Value::Object(object) = self.value else {
            return self.expected("an object");
        };
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let path = joined(&self.path, key);
            self.report.add(&path, format!("unknown key; allowed here: {}", known.join(", ")));
        }
        Some(Fields { object, path: self.path.clone(), report: self.report })
    }

    /// The value as an object with any keys.
    pub(crate) fn members(&self) -> Option<Vec<(&'a str, Node<'a>)>> {
        let Value::Object(object) = self.value else {
            return self.expected("an object");
        };
        let member = |(key, value): (&'a String, &'a Value)| {
            (key.as_str(), Node { value, path: joined(&self.path, key), report: self.report })
        };
        Some(object.iter().map(member).collect())
    }

    pub(crate) fn items(&self) -> Option<Vec<Node<'a>>> {
        let Value::Array(items) = self.value else {
            return self.expected("a list");
        };
        let item = |(index, value)| Node { value, path: format!("{}[{index}]", self.path), report: self.report };
        Some(items.iter().enumerate().map(item).collect())
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.value {
            Value::String(text) => Some(text),
            _ => self.expected("a string"),
        }
    }

    /// Short printable text, safe for logs and terminals.
    pub(crate) fn plain_text(&self) -> Option<String> {
        let text = self.text()?;
        if text.len() > limits::TEXT_BYTES {
            self.problem(format!("{} bytes long; at most {} are allowed", text.len(), limits::TEXT_BYTES));
        } else if text.chars().any(char::is_control) {
            self.problem("contains control characters; remove them");
        } else {
            return Some(text.to_owned());
        }
        None
    }

    pub(crate) fn parsed<T: FromStr<Err: Display>>(&self) -> Option<T> {
        self.checked(str::parse)
    }

    /// The result of `parse` for a string value. An error becomes a problem of this value.
    pub(crate) fn checked<T, E: Display>(&self, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        parse(self.text()?).map_err(|fault| self.problem(fault.to_string())).ok()
    }

    pub(crate) fn number(&self, range: RangeInclusive<u64>) -> Option<u64> {
        match self.value.as_u64() {
            Some(number) if range.contains(&number) => Some(number),
            Some(number) => {
                self.problem(format!("{number} is out of range; allowed: {} to {}", range.start(), range.end()));
                None
            }
            None => self.expected("a whole number"),
        }
    }
}

impl<'a> Fields<'a> {
    /// The value of an optional key. `null` counts as absent.
    pub(crate) fn optional(&self, key: &str) -> Option<Node<'a>> {
        let value = self.object.get(key).filter(|value| !value.is_null())?;
        Some(Node { value, path: joined(&self.path, key), report: self.report })
    }

    pub(crate) fn required(&self, key: &str) -> Option<Node<'a>> {
        let node = self.optional(key);
        if node.is_none() {
            self.report.add(&joined(&self.path, key), "missing");
        }
        node
    }
}

/// A time span within a range.
pub(crate) fn span(node: &Node<'_>, range: RangeInclusive<Duration>) -> Option<Span> {
    let span: Span = node.parsed()?;
    if range.contains(&span.duration()) {
        return Some(span);
    }
    node.problem(format!("{span} is out of range; allowed: {:?} to {:?}", range.start(), range.end()));
    None
}

/// An object with short printable strings as keys and values.
pub(crate) fn text_map(node: &Node<'_>, most: usize) -> Option<BTreeMap<String, String>> {
    let members = node.members()?;
    if members.len() > most {
        node.problem(format!("{} keys; at most {most} are allowed", members.len()));
        return None;
    }
    let mut map = BTreeMap::new();
    for (key, value) in members {
        if key.is_empty() || key.len() > limits::TEXT_BYTES || key.chars().any(char::is_control) {
            value.problem(format!("a key is 1 to {} printable bytes", limits::TEXT_BYTES));
        } else if let Some(text) = value.plain_text() {
            map.insert(key.to_owned(), text);
        }
    }
    Some(map)
}

fn joined(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key.len() <= limits::NAME_BYTES
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{}]", excerpt(key)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(number) if number.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
