//! A route: a subject filter, a model, and the subject of its results.
//!
//! Guarantees: a parsed route with an output maps every matching subject. No output matches the route's own filter.

use std::str::FromStr;

use serde::Serialize;

use crate::canonical::canonical;
use crate::fields::{Fields, Node, read_json, span};
use crate::limits;
use crate::names::{ModelName, StreamName};
use crate::problems::Problems;
use crate::subject;
use crate::text::excerpt;
use crate::units::Span;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The subject filter of the route.
    pub subject: String,
    pub model: ModelName,
    /// The subject of published results. `{{wildcard(1)}}` or `$1` is replaced by the match of the first `*`.
    /// In mode `request` results are published in addition to the reply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The priority of this route's messages over those of other routes.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    #[serde(flatten)]
    pub mode: Mode,
}

/// The order of messages waiting for a compute thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    #[default]
    Normal,
    /// Before all waiting normal messages, and never in a batch with them.
    High,
}

impl Priority {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a priority; use `normal` or `high`")]
pub struct PriorityFault(String);

impl FromStr for Priority {
    type Err = PriorityFault;

    fn from_str(text: &str) -> Result<Self, PriorityFault> {
        match text {
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            other => Err(PriorityFault(excerpt(other))),
        }
    }
}

/// The delivery mode of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Mode {
    /// At most once, always with a reply.
    #[default]
    Request,
    /// Every stored message ends in exactly one of: a result, "no result", a dead letter.
    Stream(StreamOptions),
}

/// The additional options of a route with mode `stream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamOptions {
    /// The JetStream stream with the input messages.
    pub stream: StreamName,
    /// The stream for the results. By default each route has a separate one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<StreamName>,
    /// A template for a key from the subject. Messages with equal keys are processed in order, one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// The server's wait for an acknowledgement or in-progress ack of a delivered message.
    pub ack_wait: Span,
    /// The maximum time of sending in-progress acks for one message.
    pub deadline: Span,
    /// The maximum number of deliveries. After more deliveries a message becomes a dead letter.
    pub deliveries: u64,
    /// The start position of a new consumer.
    pub start: Start,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest stored message.
    #[default]
    All,
    /// With the first message stored after the creation of the consumer.
    New,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a start position; use `all` or `new`")]
pub struct StartFault(String);

impl FromStr for Start {
    type Err = StartFault;

    fn from_str(text: &str) -> Result<Self, StartFault> {
        match text {
            "all" => Ok(Self::All),
            "new" => Ok(Self::New),
            other => Err(StartFault(excerpt(other))),
        }
    }
}

impl StreamOptions {
    /// Options for a stream, all others at their defaults.
    pub fn new(stream: StreamName) -> Self {
        Self {
            stream,
            results: None,
            order: None,
            ack_wait: limits::ACK_WAIT,
            deadline: limits::DEADLINE,
            deliveries: limits::DELIVERIES,
            start: Start::All,
        }
    }
}

impl Route {
    pub fn parse(bytes: &[u8]) -> Result<Self, Problems> {
        read_json(bytes, route)
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // Cannot fail: every key is a string.
        serde_json::to_value(self).map(|value| canonical(&value)).unwrap_or_default()
    }

    /// The output subject of a message on `subject`, or `None` without an output or a match.
    pub fn output_for(&self, subject: &str) -> Option<String> {
        self.output.as_ref().and_then(|template| subject::mapped(template, &self.subject, subject))
    }

    /// A filter for all possible output subjects.
    pub fn output_filter(&self) -> Option<String> {
        self.output.as_deref().map(subject::reach)
    }

    /// The ordering key of a message on `subject`, or `None` for a route without `order`.
    pub fn key_for(&self, subject: &str) -> Option<String> {
        let order = self.stream()?.order.as_ref()?;
        subject::mapped(order, &self.subject, subject)
    }

    pub fn stream(&self) -> Option<&StreamOptions> {
        match &self.mode {
            Mode::Request => None,
            Mode::Stream(options) => Some(options),
        }
    }
}

const STREAM_KEYS: [&str; 7] = ["stream", "results", "order", "ack_wait", "deadline", "deliveries", "start"];

fn route(node: &Node<'_>) -> Option<Route> {
    let known = ["subject", "model", "output", "priority", "mode"].into_iter().chain(STREAM_KEYS).collect::<Vec<_>>();
    let fields = node.fields(&known)?;
    let filter = fields.required("subject");
    let filter = filter.and_then(|node| node.checked(|text| subject::check_filter(text).map(|()| text.to_owned())));
    let model = fields.required("model").and_then(|node| node.parsed());
    let priority = fields.optional("priority").map_or(Some(Priority::Normal), |node| node.parsed());
    let kind = fields.optional("mode");
    let kind_text = kind.as_ref().map_or(Some("request"), Node::text);
    let mode = match kind_text {
        Some("request") => request_mode(&fields),
        Some("stream") => stream_mode(&fields, filter.as_deref()).map(Mode::Stream),
        other => {
            if let (Some(node), Some(other)) = (&kind, other) {
                node.problem(format!("{} is not a delivery mode; use `request` or `stream`", excerpt(other)));
            }
            None
        }
    };
    // The results of a stream route need a subject.
    let output = if kind_text == Some("stream") { fields.required("output") } else { fields.optional("output") };
    let output = output.and_then(|node| self::output(&node, filter.as_deref()));
    Some(Route { subject: filter?, model: model?, output, priority: priority?, mode: mode? })
}

fn request_mode(fields: &Fields<'_>) -> Option<Mode> {
    let stray = STREAM_KEYS.into_iter().filter_map(|key| fields.optional(key));
    let strays =
        stray.map(|node| node.problem("only routes of mode `stream` have this key; add `\"mode\":\"stream\"`"));
    (strays.count() == 0).then_some(Mode::Request)
}

fn stream_mode(fields: &Fields<'_>, filter: Option<&str>) -> Option<StreamOptions> {
    let mut options = StreamOptions::new(fields.required("stream").and_then(|node| node.parsed())?);
    let mut whole = true;
    let mut read = |key, set: &mut dyn FnMut(&Node<'_>) -> Option<()>| {
        whole &= fields.optional(key).is_none_or(|node| set(&node).is_some());
    };
    read("results", &mut |node| node.parsed().map(|name| options.results = Some(name)));
    read("order", &mut |node| template(node, filter).map(|order| options.order = Some(order)));
    read("ack_wait", &mut |node| span(node, limits::ROUTE_ACK_WAIT).map(|wait| options.ack_wait = wait));
    read("deadline", &mut |node| span(node, limits::ROUTE_DEADLINE).map(|deadline| options.deadline = deadline));
    read("deliveries", &mut |node| node.number(limits::ROUTE_DELIVERIES).map(|most| options.deliveries = most));
    read("start", &mut |node| node.parsed().map(|start| options.start = start));
    whole.then_some(options)
}

/// A template over the wildcards of the filter. It is not checked if the filter is invalid.
fn template(node: &Node<'_>, filter: Option<&str>) -> Option<String> {
    let (_, filter) = (node.text()?, filter?);
    node.checked(|template| subject::check_template(template, filter).map(|()| template.to_owned()))
}

fn output(node: &Node<'_>, filter: Option<&str>) -> Option<String> {
    let (template, filter) = (template(node, filter)?, filter?);
    // Emitted messages are published below the output.
    if subject::feeds_itself(&template, filter) || subject::feeds_itself(&format!("{template}.>"), filter) {
        node.problem(
            "the route's filter matches this subject, so the route would process its own results forever; \
             choose another",
        );
        return None;
    }
    Some(template)
}
