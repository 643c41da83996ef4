//! The end of one message: a result, a declared "no result", or a failure with its step and cause.

use std::time::Duration;

use bytes::Bytes;
use inferbus_abi::frame::FrameFault;
use inferbus_engine::ModelFault;
use inferbus_sandbox::{Emit, Fault};

use crate::encoding::{EncodingFault, ResultEncoding};
use crate::plan::{MessageTimes, Stage};

/// A message's end and its times.
pub type Ended = (Result<Done, Failure>, MessageTimes);

/// A successful message.
#[derive(Debug, Default)]
pub struct Done {
    /// The result's bytes; `None` after a plugin declared "no result".
    pub output: Option<Bytes>,
    pub encoding: ResultEncoding,
    /// Extra messages, in the order of emission.
    pub emits: Vec<Emit>,
}

/// A failed message: the step with the failure, and its cause.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Failure {
    pub stage: Stage,
    pub cause: FailureCause,
}

#[derive(Debug, thiserror::Error)]
pub enum FailureCause {
    #[error("{0}")]
    Payload(EncodingFault),
    #[error("the payload's tensors do not fit the model: {0}")]
    Input(ModelFault),
    #[error("{0}")]
    Plugin(Fault),
    #[error("the pre plugin's output is not a tensor frame: {0}")]
    HandoverFrame(FrameFault),
    #[error("the pre plugin's tensors do not fit the model: {0}")]
    Handover(ModelFault),
    #[error("the model's outputs do not fit into a tensor frame: {0}")]
    Outputs(FrameFault),
    #[error("{0}")]
    Result(EncodingFault),
    #[error("the model failed: {0}")]
    Model(ModelFault),
    #[error("its deadline passed {} ms before a lane was free: not computed", .0.as_millis())]
    Late(Duration),
    #[error(
        "a message of {len} bytes exceeds the NATS server's limit of {limit}: raise its max_payload or shrink the \
         output"
    )]
    Unpublishable { len: usize, limit: usize },
}

impl FailureCause {
    pub fn at(self, stage: Stage) -> Failure {
        Failure { stage, cause: self }
    }
}

/// The failure of a model without outputs and without a fault.
pub fn lacks_outputs() -> FailureCause {
    FailureCause::Model(ModelFault::Failed("it ended without outputs".into()))
}
