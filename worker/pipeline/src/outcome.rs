//! The meaning of every failure for the caller, the counters and the operator: one table.
//!
//! Guarantees: each way to fail has a stable code and label here, and nowhere else.

use inferbus_catalog_document::{ModelName, Version};
use inferbus_engine::ModelFault;
use inferbus_sandbox::FaultClass;

use crate::encoding::{EncodingFault, HeaderFault};
use crate::end::{Failure, FailureCause};
use crate::identity::Identity;
use crate::limits;

/// A message rejected before its first step.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("no model `{model}` is active: push it and activate a version (`inferbus ls` lists the models)")]
    UnknownModel { model: String },
    #[error("model `{model}` is active, but no version of it could be loaded yet: {why}")]
    NotLoaded { model: String, why: String },
    #[error("{model} {version}: the payload has {len} bytes, more than this worker's limit of {limit}")]
    TooLarge { model: ModelName, version: Version, len: usize, limit: usize },
    #[error(
        "{model} {version}: content type `{given}` is not supported: without a pre plugin, send tensors as \
         application/x-inferbus-tensors, application/json or application/msgpack"
    )]
    ContentType { model: ModelName, version: Version, given: String },
    #[error("{model}: the deadline passed before the model was loaded")]
    Late { model: String },
    #[error("the header Inferbus-Timeout is {given:?}: {why}; write a time like `250ms`")]
    Timeout { given: String, why: String },
    #[error("{model}: the header Inference-Header-Content-Length is `{given}`, not a number of bytes")]
    HeaderLength { model: ModelName, given: String },
    #[error(
        "{model}: the worker is at capacity ({messages} messages, or {} MiB of payloads in flight): retry later or add \
         workers", bytes >> 20
    )]
    Busy { model: ModelName, messages: usize, bytes: usize },
    #[error("the worker is stopping: retry")]
    Stopping,
    #[error("the message was delivered {deliveries} times without an end")]
    TooOften { deliveries: u64 },
    #[error("this message was being processed in {crashes} worker crashes")]
    Crashed { crashes: usize },
}

/// A reply's code and a counter's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub code: u16,
    pub label: &'static str,
}

const fn verdict(code: u16, label: &'static str) -> Verdict {
    Verdict { code, label }
}

/// The labels of messages with a result, and of messages filtered out by a plugin.
pub const OK: &str = "ok";
pub const NO_RESULT: &str = "no_result";

/// Every verdict and its meaning: the reference of error codes is generated from this table.
pub const VERDICTS: &[(Verdict, &str)] = &[
    (BAD_HEADER, "A header cannot be read, for example `Inferbus-Timeout`."),
    (BAD_TENSORS, "The payload's tensors cannot be decoded, or do not fit the model."),
    (UNKNOWN_MODEL, "The catalog does not name an active version of the model."),
    (NOT_ACCEPTABLE, "The requested encoding cannot hold the result."),
    (LATE, "The deadline passed before the computation began."),
    (TOO_LARGE, "The payload exceeds the worker's limit."),
    (CONTENT_TYPE, "The content type does not describe tensors."),
    (REFUSED, "A plugin rejected the message; the text is the plugin's."),
    (BUSY, "The worker is at capacity. Retry later or add workers."),
    (TRAPPED, "A plugin trapped. Its instance was replaced."),
    (MODEL_FAILED, "ONNX Runtime reported an error."),
    (DELIVERIES, "A stored message was delivered too often without an end."),
    (CRASHED, "A stored message was in flight in several worker crashes."),
    (MISFIT, "The parts of the bundle do not fit together."),
    (UNAVAILABLE, "The model is not loaded, or the worker is stopping."),
    (OUT_OF_TIME, "A plugin or the model exceeded its time limit."),
    (OVER_LIMIT, "A plugin exceeded a limit, or the result exceeds the server's max_payload."),
];

const BAD_HEADER: Verdict = verdict(400, "bad_header");
const BAD_TENSORS: Verdict = verdict(400, "bad_tensors");
const UNKNOWN_MODEL: Verdict = verdict(404, "unknown_model");
const NOT_ACCEPTABLE: Verdict = verdict(406, "not_acceptable");
const LATE: Verdict = verdict(408, "late");
const TOO_LARGE: Verdict = verdict(413, "payload_too_large");
const CONTENT_TYPE: Verdict = verdict(415, "content_type");
const REFUSED: Verdict = verdict(422, "refused");
const BUSY: Verdict = verdict(429, "busy");
const TRAPPED: Verdict = verdict(500, "trapped");
const MODEL_FAILED: Verdict = verdict(500, "model_failed");
const DELIVERIES: Verdict = verdict(500, "deliveries");
const CRASHED: Verdict = verdict(500, "crashed");
const MISFIT: Verdict = verdict(502, "misfit");
const UNAVAILABLE: Verdict = verdict(503, "unavailable");
const OUT_OF_TIME: Verdict = verdict(504, "out_of_time");
pub const OVER_LIMIT: Verdict = verdict(507, "over_limit");

impl Refusal {
    /// The refusal of a message to a model without a pre plugin.
    pub fn of_headers(identity: &Identity, fault: HeaderFault) -> Self {
        let Identity { model, version, .. } = identity.clone();
        match fault {
            HeaderFault::ContentType(given) => Self::ContentType { model, version, given },
            HeaderFault::HeaderLength(given) => Self::HeaderLength { model, given },
        }
    }

    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Timeout { .. } => BAD_HEADER,
            Self::Late { .. } => LATE,
            Self::UnknownModel { .. } => UNKNOWN_MODEL,
            Self::TooLarge { .. } => TOO_LARGE,
            Self::ContentType { .. } => CONTENT_TYPE,
            Self::HeaderLength { .. } => BAD_TENSORS,
            Self::Busy { .. } => BUSY,
            Self::NotLoaded { .. } | Self::Stopping => UNAVAILABLE,
            Self::TooOften { .. } => DELIVERIES,
            Self::Crashed { .. } => CRASHED,
        }
    }

    /// Whether a retry can succeed: a stored message is then delivered again.
    pub fn is_transient(&self) -> bool {
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
        match &self.cause {
            FailureCause::Payload(_) | FailureCause::Input(_) => BAD_TENSORS,
            FailureCause::Late(_) => LATE,
            FailureCause::Result(EncodingFault::Open(fault)) if fault.is_form() => NOT_ACCEPTABLE,
            FailureCause::Result(EncodingFault::Open(_)) => BAD_TENSORS,
            FailureCause::Plugin(fault) => match fault.class() {
                FaultClass::Refused => REFUSED,
                FaultClass::Trapped => TRAPPED,
                FaultClass::OutOfTime => OUT_OF_TIME,
                FaultClass::OverLimit => OVER_LIMIT,
            },
            FailureCause::HandoverFrame(_)
            | FailureCause::Handover(_)
            | FailureCause::Outputs(_)
            | FailureCause::Result(_) => MISFIT,
            FailureCause::Unpublishable { .. } => OVER_LIMIT,
            FailureCause::Model(ModelFault::OutOfTime { .. }) => OUT_OF_TIME,
            FailureCause::Model(_) => MODEL_FAILED,
        }
    }

    /// The line in the error reply: `digits 1.0.0 pre: …`. `step` is the name of the failed step.
    pub fn sentence(&self, identity: &Identity, step: &str) -> String {
        header_text(&format!("{} {} {step}: {self}", identity.model, identity.version))
    }
}

/// Text for a header: one bounded line without control characters.
pub fn header_text(text: &str) -> String {
    let mut line: String = text.chars().take(limits::ERROR_TEXT).collect();
    if line.contains(|c: char| c.is_control()) {
        line = line.replace(|c: char| c.is_control(), " ");
    }
    line
}
