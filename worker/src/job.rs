//! THE PATH: one message through pre, model and post.
//!
//! Promises: [`run`] is synchronous and pure policy. It takes a payload and the parts of one lane, and
//! gives back what is to be published or why nothing is. It must never wait, never touch the bus and
//! never read a clock but the one passed in, so that every outcome can be tested without a broker.

use std::time::{Duration, Instant};

use bytes::Bytes;
use inferbus_abi::frame::{self, Frame, FrameFault, Tensor};
use inferbus_engine::{Model, ModelFault};
use inferbus_sandbox::{Emit, Fault, Instance, LogLine, Reply};

use crate::models::bundle::Identity;
use crate::observe::telemetry::stage_span;
use crate::wire::{Decoded, Wire, WireFault, Written};

/// One stage around the model. In every worker it is a sandboxed plugin; a benchmark puts native code here, to see
/// what the sandbox costs.
pub trait Transform: Send {
    /// Has room made for `len` bytes, has `fill` write every one of them, and gives what came of them.
    fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault>;
}

impl Transform for Instance {
    fn call(
        &mut self,
        len: usize,
        fill: &mut dyn FnMut(&mut [u8]),
        log: &mut dyn FnMut(LogLine<'_>),
    ) -> Result<Reply<'_>, Fault> {
        Self::call(self, len, fill, log)
    }
}

/// What one lane needs to run one bundle: its own plugin instances and a session.
pub struct Parts {
    pub pre: Option<Box<dyn Transform>>,
    pub model: Box<dyn Model>,
    pub post: Option<Box<dyn Transform>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Pre,
    Infer,
    Post,
}

impl Stage {
    pub fn name(self) -> &'static str {
        match self {
            Self::Pre => "pre",
            Self::Infer => "infer",
            Self::Post => "post",
        }
    }
}

/// The time each stage took; a stage that did not run took none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageTimes {
    /// Waiting for a lane.
    pub queue: Duration,
    /// On a lane, but not its own work: its neighbours' pre plugins, before the model runs for all.
    pub gathering: Duration,
    pub pre: Duration,
    /// The whole run of the model, whoever shared it.
    pub infer: Duration,
    pub post: Duration,
}

/// How a message ended, and what it took.
pub type Ended = (Result<Done, Failure>, StageTimes);

/// A message that went well.
#[derive(Debug, Default)]
pub struct Done {
    /// The result's bytes; `None` when a plugin declared that there is no result.
    pub output: Option<Bytes>,
    pub written: Written,
    /// Extra messages, in the order in which the plugins emitted them.
    pub emits: Vec<Emit>,
}

/// Why a message has no result, and in which stage that was found.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Payload(WireFault),
    #[error("the payload's tensors do not fit the model: {0}")]
    Input(ModelFault),
    #[error("{fault}")]
    Plugin { stage: Stage, fault: Fault },
    #[error("the pre plugin's output is not a tensor frame: {0}")]
    HandoverFrame(FrameFault),
    #[error("the pre plugin's tensors do not fit the model: {0}")]
    Handover(ModelFault),
    #[error("the model's outputs do not fit into a tensor frame: {0}")]
    Outputs(FrameFault),
    #[error("{0}")]
    Result(WireFault),
    #[error("the model failed: {0}")]
    Model(ModelFault),
    #[error("its time was over {} ms before a lane was free, so it was not computed", .0.as_millis())]
    Late(Duration),
    #[error(
        "a message of {len} bytes is more than the {limit} that the NATS server takes: raise its max_payload or make the output smaller"
    )]
    Unpublishable { len: usize, limit: usize },
}

impl Failure {
    pub fn stage(&self) -> Stage {
        match self {
            Self::Plugin { stage, .. } => *stage,
            Self::Payload(_) | Self::HandoverFrame(_) | Self::Late(_) => Stage::Pre,
            Self::Input(_) | Self::Handover(_) | Self::Outputs(_) | Self::Result(_) | Self::Model(_) => Stage::Infer,
            Self::Unpublishable { .. } => Stage::Post,
        }
    }
}

/// Where a plugin's log lines go and what time it is: the path's only view of the world.
pub trait Surroundings {
    fn now(&self) -> Instant;
    fn log(&self, stage: Stage, line: LogLine<'_>);
    /// The model ran, for so many messages at once.
    fn ran(&self, _messages: usize) {}
    /// A stage of a message is done and the next one has not begun: where a test may want the world to end.
    fn passed(&self, _stage: Stage, _payload: &[u8]) {}
}

/// A message as it came, and for which bundle.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    /// How tensors are written in it, if there is no pre plugin to read it.
    pub wire: Wire,
    pub identity: &'a Identity,
}

/// Runs one message: payload → pre → model → post.
pub fn run(parts: &mut Parts, payload: Payload<'_>, around: &dyn Surroundings) -> Ended {
    let mut times = StageTimes::default();
    let result = before_model(parts, payload, around, &mut times);
    (result, times)
}

fn before_model(
    parts: &mut Parts,
    Payload { bytes, wire, identity }: Payload<'_>,
    around: &dyn Surroundings,
    times: &mut StageTimes,
) -> Result<Done, Failure> {
    let Parts { pre, model, post } = parts;
    let Some(pre) = pre else {
        let given = wire.decode(bytes, identity).map_err(Failure::Payload)?;
        return infer(model.as_mut(), post, (&given, bytes), Failure::Input, Vec::new(), around, times);
    };
    let started = around.now();
    let span = stage_span(Stage::Pre).entered();
    let reply = call(pre, Stage::Pre, bytes.len(), &mut |input| input.copy_from_slice(bytes), around);
    drop(span);
    times.pre = around.now().duration_since(started);
    let Reply { output, emits } = reply?;
    let Some(output) = output else {
        return Ok(Done { output: None, written: Written::Raw, emits });
    };
    around.passed(Stage::Pre, bytes);
    let frame = Frame::decode(output).map_err(Failure::HandoverFrame)?;
    infer(model.as_mut(), post, (&Decoded::Frame(frame), bytes), Failure::Handover, emits, around, times)
}

/// The model reads its inputs where they lie and hands its outputs on where they lie, so the post
/// plugin runs inside the callback: no tensor is copied on its way.
fn infer(
    model: &mut dyn Model,
    post: &mut Option<Box<dyn Transform>>,
    (given, payload): (&Decoded<'_>, &[u8]),
    misfit: fn(ModelFault) -> Failure,
    emits: Vec<Emit>,
    around: &dyn Surroundings,
    times: &mut StageTimes,
) -> Result<Done, Failure> {
    let inputs = given.tensors();
    let started = around.now();
    // Left before post begins, so that a trace shows three stages in a row.
    let mut span = Some(stage_span(Stage::Infer).entered());
    let mut done = None;
    let mut model_ended = None;
    let ran = model.run(&inputs, &mut |outputs| {
        span.take();
        let ended = around.now();
        model_ended = Some(ended);
        around.passed(Stage::Infer, payload);
        done = Some(after_model(post, outputs, Some(given), around));
        times.post = around.now().duration_since(ended);
    });
    around.ran(1);
    times.infer = model_ended.unwrap_or_else(|| around.now()).duration_since(started);
    ran.map_err(|fault| if fault.is_callers() { misfit(fault) } else { Failure::Model(fault) })?;
    let mut done = done.unwrap_or_else(lacks_outputs)?;
    if !emits.is_empty() {
        done.emits.splice(0..0, emits);
    }
    Ok(done)
}

/// The end of a message whose model came back with neither outputs nor a fault.
pub(crate) fn lacks_outputs() -> Result<Done, Failure> {
    Err(Failure::Model(ModelFault::Failed("it ended without outputs".into())))
}

pub(crate) fn after_model(
    post: &mut Option<Box<dyn Transform>>,
    outputs: &[Tensor<'_>],
    given: Option<&Decoded<'_>>,
    around: &dyn Surroundings,
) -> Result<Done, Failure> {
    let Some(post) = post else {
        let (output, written) = Decoded::encode(given, outputs).map_err(Failure::Result)?;
        return Ok(Done { output: Some(output.into()), written, emits: Vec::new() });
    };
    let len = frame::encoded_len(outputs).map_err(Failure::Outputs)?;
    let _span = stage_span(Stage::Post).entered();
    let mut encoded = Ok(());
    let reply = call(post, Stage::Post, len, &mut |input| encoded = frame::encode_into(outputs, input), around)?;
    encoded.map_err(Failure::Outputs)?;
    Ok(Done { output: reply.output.map(Bytes::copy_from_slice), written: Written::Raw, emits: reply.emits })
}

pub(crate) fn call<'a>(
    plugin: &'a mut Box<dyn Transform>,
    stage: Stage,
    len: usize,
    fill: &mut dyn FnMut(&mut [u8]),
    around: &dyn Surroundings,
) -> Result<Reply<'a>, Failure> {
    plugin.call(len, fill, &mut |line| around.log(stage, line)).map_err(|fault| Failure::Plugin { stage, fault })
}
