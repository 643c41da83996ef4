//! A route: which model answers on which subjects, and where its results go.
//!
//! Promises: the output of a parsed route can be made for every subject that the route matches, and never
//! comes back into the same route.

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
    /// The filter: subjects that this route takes.
    pub subject: String,
    pub model: ModelName,
    /// Where results are published, in mode `request` beside the reply: a subject, with `{{wildcard(1)}}` or `$1` for what
    /// `*` matched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Whether its messages go before those of other routes.
    #[serde(skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    #[serde(flatten)]
    pub mode: Mode,
}

/// Who goes first where messages wait for a compute thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    #[default]
    Normal,
    /// Before every normal message that waits, and never in one batch with them.
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

/// How messages are delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "mode", rename_all = "lowercase")]
pub enum Mode {
    /// At most once, and a reply always comes.
    #[default]
    Request,
    /// Every stored message ends in one result, "no result", or one dead letter.
    Stream(StreamOptions),
}

/// What a route of mode `stream` says beside its subject, model and output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StreamOptions {
    /// The JetStream stream that holds the messages.
    pub stream: StreamName,
    /// The stream that holds the results; without it the route has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<StreamName>,
    /// The key of a message, made of its subject: messages of one key are worked on one after the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// How long the server waits for a sign of life of a message that was delivered.
    pub ack_wait: Span,
    /// How long signs of life are given for one message at most.
    pub deadline: Span,
    /// A message that was delivered more often than this becomes a dead letter.
    pub deliveries: u64,
    /// Where a consumer that does not exist yet begins.
    pub start: Start,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the oldest message that is stored.
    #[default]
    All,
    /// With the first message stored after the consumer was made.
    New,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a place to start; use `all` or `new`")]
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
    /// A stream's route with every other option at its default.
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
        // Every key is a string, so this cannot fail.
        serde_json::to_value(self).map(|value| canonical(&value)).unwrap_or_default()
    }

    /// Where the result of a message on `subject` is published; nowhere without an output or a match.
    pub fn output_for(&self, subject: &str) -> Option<String> {
        self.output.as_ref().and_then(|template| subject::mapped(template, &self.subject, subject))
    }

    /// The filter that takes every subject which the output can make.
    pub fn output_filter(&self) -> Option<String> {
        self.output.as_deref().map(subject::reach)
    }

    /// The key in whose order a message on `subject` stands; none for a route that asks for no order.
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
    // Without a subject a stream's results would be nowhere.
    let output = if kind_text == Some("stream") { fields.required("output") } else { fields.optional("output") };
    let output = output.and_then(|node| self::output(&node, filter.as_deref()));
    Some(Route { subject: filter?, model: model?, output, priority: priority?, mode: mode? })
}

fn request_mode(fields: &Fields<'_>) -> Option<Mode> {
    let stray = STREAM_KEYS.into_iter().filter_map(|key| fields.optional(key));
    let strays = stray.map(|node| node.problem("only a route of mode `stream` has this; add `\"mode\":\"stream\"`"));
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

/// A template over the wildcards of the filter. Without a valid filter there is no value to check against.
fn template(node: &Node<'_>, filter: Option<&str>) -> Option<String> {
    let (_, filter) = (node.text()?, filter?);
    node.checked(|template| subject::check_template(template, filter).map(|()| template.to_owned()))
}

fn output(node: &Node<'_>, filter: Option<&str>) -> Option<String> {
    let (template, filter) = (template(node, filter)?, filter?);
    // Emitted messages are published below the output.
    if subject::feeds_itself(&template, filter) || subject::feeds_itself(&format!("{template}.>"), filter) {
        node.problem("the route takes this subject itself, so results would come back without end; choose another");
        return None;
    }
    Some(template)
}
