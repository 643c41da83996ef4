//! A route: which model answers on which subjects, and where its results go.
//!
//! Promises: the output of a parsed route can be made for every subject that the route matches, and never
//! comes back into the same route.

use serde::Serialize;

use crate::canonical::canonical;
use crate::fields::{Node, read_json};
use crate::names::ModelName;
use crate::problems::{Problems, excerpt};
use crate::subject;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The filter: subjects that this route takes.
    pub subject: String,
    pub model: ModelName,
    /// Where results are published beside the reply: a subject, with `{{wildcard(1)}}` or `$1` for what `*` matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    pub mode: Mode,
}

/// How messages are delivered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// At most once, and a reply always comes.
    #[default]
    Request,
}

impl Route {
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        read_json(bytes, route)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Every key is a string, so this cannot fail.
        serde_json::to_value(self).map(|value| canonical(&value)).unwrap_or_default()
    }

    pub fn matches(&self, subject: &str) -> bool {
        subject::matches(&self.subject, subject)
    }

    /// Where the result of a message on `subject` is published; nowhere without an output or a match.
    pub fn output_for(&self, subject: &str) -> Option<String> {
        self.output.as_ref().and_then(|template| subject::mapped(template, &self.subject, subject))
    }
}

fn route(node: &Node<'_>) -> Option<Route> {
    let fields = node.fields(&["subject", "model", "output", "mode"])?;
    let filter = fields.required("subject").and_then(|node| {
        let text = node.text()?;
        subject::check_filter(text).map_err(|fault| node.problem(fault.to_string())).ok()?;
        Some(text.to_owned())
    });
    let model = fields.required("model").and_then(|node| node.parsed());
    let output = fields.optional("output").and_then(|node| output(&node, filter.as_deref()));
    let mode = fields.optional("mode").map_or(Some(Mode::default()), |node| mode(&node));
    Some(Route { subject: filter?, model: model?, output, mode: mode? })
}

fn output(node: &Node<'_>, filter: Option<&str>) -> Option<String> {
    let (template, filter) = (node.text()?, filter?);
    subject::check_template(template, filter).map_err(|fault| node.problem(fault.to_string())).ok()?;
    // Emits go below the output.
    if subject::feeds_itself(template, filter) || subject::feeds_itself(&format!("{template}.>"), filter) {
        node.problem("the route takes this subject itself, so results would come back without end; choose another");
        return None;
    }
    Some(template.to_owned())
}

fn mode(node: &Node<'_>) -> Option<Mode> {
    match node.text()? {
        "request" => return Some(Mode::Request),
        "stream" => node.problem("the mode `stream` is not available yet; use `request`"),
        other => node.problem(format!("{} is not a delivery mode; use `request`", excerpt(other))),
    }
    None
}
