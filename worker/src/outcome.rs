//! From a failure to what the caller, the counters and the operator see of it: one table.
//!
//! Promises: every way in which a message can fail has a stable code here, and nowhere else.

use std::fmt::Display;

use inferbus_catalog::{ModelName, Version};
use inferbus_engine::ModelFault;
use inferbus_sandbox::FaultClass;

use crate::job::{Failure, Stage};
use crate::limits;
use crate::wire::WireFault;

/// Why a message was not even tried.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no model `{model}` is active: push it and activate a version (`inferbus ls` lists what there is)")]
    UnknownModel { model: String },
    #[error("model `{model}` is active, but no version of it could be loaded yet: {why}")]
    NotLoaded { model: String, why: String },
    #[error("{model} {version}: the payload has {len} bytes, more than the {limit} that this worker takes")]
    TooLarge { model: ModelName, version: Version, len: usize, limit: usize },
    #[error("{model} {version}: content type `{given}` is not understood here: {expected}")]
    ContentType { model: ModelName, version: Version, given: String, expected: &'static str },
    #[error("{model}: its time was over before the model was loaded")]
    Late { model: String },
    #[error("the header Inferbus-Timeout is {given:?}: {why}; write a time like `250ms`")]
    Timeout { given: String, why: String },
    #[error("{model}: the header Inference-Header-Content-Length says `{given}`, which is no number of bytes")]
    HeaderLength { model: ModelName, given: String },
    #[error("{model}: the worker has as much in hand as it takes ({limit} messages, or {} MiB of payloads): send again later or add a worker", limits::IN_FLIGHT_BYTES >> 20)]
    Busy { model: ModelName, limit: usize },
    #[error("the worker is stopping: send again")]
    Stopping,
    #[error("it was delivered {deliveries} times and never came to an end")]
    TooOften { deliveries: u64 },
    #[error("it was on a lane when this worker died, {deaths} times")]
    Crashed { deaths: usize },
}

/// What is said of a failure: the reply's code and the label of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: u16,
    pub label: &'static str,
}

const fn verdict(code: u16, label: &'static str) -> Verdict {
    Verdict { code, label }
}

/// The label of a message that gave a result, and of one that a plugin filtered out.
pub const OK: &str = "ok";
pub const NO_RESULT: &str = "no_result";

impl Refusal {
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Timeout { .. } => verdict(400, "bad_header"),
            Self::Late { .. } => verdict(408, "late"),
            Self::UnknownModel { .. } => verdict(404, "unknown_model"),
            Self::TooLarge { .. } => verdict(413, "payload_too_large"),
            Self::ContentType { .. } => verdict(415, "content_type"),
            Self::HeaderLength { .. } => verdict(400, "bad_tensors"),
            Self::Busy { .. } => verdict(429, "busy"),
            Self::NotLoaded { .. } | Self::Stopping => verdict(503, "unavailable"),
            Self::TooOften { .. } => verdict(500, "deliveries"),
            Self::Crashed { .. } => verdict(500, "crashed"),
        }
    }

    /// Whether the same message may be tried at another time: a stored one is then delivered again.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::UnknownModel { .. } | Self::NotLoaded { .. } | Self::Busy { .. } | Self::Stopping => true,
            Self::TooLarge { .. }
            | Self::ContentType { .. }
            | Self::HeaderLength { .. }
            | Self::Timeout { .. }
            | Self::Late { .. }
            | Self::TooOften { .. }
            | Self::Crashed { .. } => false,
        }
    }
}

impl Failure {
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Payload(_) | Self::Input(_) => verdict(400, "bad_tensors"),
            Self::Late(_) => verdict(408, "late"),
            Self::Result(WireFault::Open(fault)) if fault.is_form() => verdict(406, "not_acceptable"),
            Self::Result(WireFault::Open(_)) => verdict(400, "bad_tensors"),
            Self::Plugin { fault, .. } => match fault.class() {
                FaultClass::Refused => verdict(422, "refused"),
                FaultClass::Trapped => verdict(500, "trapped"),
                FaultClass::OutOfTime => verdict(504, "out_of_time"),
                FaultClass::OverLimit => verdict(507, "over_limit"),
            },
            Self::HandoverFrame(_) | Self::Handover(_) | Self::Outputs(_) | Self::Result(_) => verdict(502, "misfit"),
            Self::Unpublishable { .. } => verdict(507, "over_limit"),
            Self::Model(ModelFault::OutOfTime { .. }) => verdict(504, "out_of_time"),
            Self::Model(_) => verdict(500, "model_failed"),
        }
    }
}

/// The one line that a caller reads: `digits 1.0.0 pre: …`.
pub fn sentence(model: &str, version: &str, stage: Stage, failure: &dyn Display) -> String {
    header_text(&format!("{model} {version} {}: {failure}", stage.name()))
}

/// A header's value is one bounded line, whatever a plugin's message holds.
pub fn header_text(text: &str) -> String {
    let mut line: String = text.chars().take(limits::ERROR_TEXT).collect();
    if line.contains(|c: char| c.is_control()) {
        line = line.replace(|c: char| c.is_control(), " ");
    }
    line
}
