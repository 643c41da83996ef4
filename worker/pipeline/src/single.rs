//! THE PATH: one message through pre, model and post.
//!
//! Guarantees: [`run`] is synchronous policy. It takes a payload and one lane's parts, and returns a result or a
//! failure. It never waits, never touches NATS, and reads only the clock of its context.

use bytes::Bytes;
use inferbus_abi::frame::{self, Frame, Tensor};
use inferbus_engine::{Model, ModelFault};
use inferbus_sandbox::{Emit, Reply};

use crate::context::{Context, step_span};
use crate::encoding::{Decoded, Encoding, ResultEncoding};
use crate::end::{Done, Ended, Failure, FailureCause, lacks_outputs};
use crate::identity::Identity;
use crate::plan::{MessageTimes, Plan, Stage};
use crate::transform::{Parts, Transform};

/// A message's bytes as received, and the bundle they are for.
#[derive(Clone, Copy)]
pub struct Payload<'a> {
    pub bytes: &'a [u8],
    /// The encoding of its tensors, used by bundles without a pre plugin.
    pub encoding: Encoding,
    pub identity: &'a Identity,
}

/// Runs one message: payload → pre → model → post.
pub fn run(parts: &mut Parts, payload: Payload<'_>, context: &dyn Context) -> Ended {
    let mut times = MessageTimes::default();
    let result = before_model(parts, payload, context, &mut times);
    (result, times)
}

fn before_model(
    parts: &mut Parts,
    Payload { bytes, encoding, identity }: Payload<'_>,
    context: &dyn Context,
    times: &mut MessageTimes,
) -> Result<Done, Failure> {
    let Parts { plan, pre, model, post } = parts;
    let (Some(pre), Some(stage)) = (pre, plan.pre()) else {
        let input = encoding.decode(bytes, identity).map_err(|fault| FailureCause::Payload(fault).at(Stage::FIRST))?;
        let rest = Rest { plan, post, misfit: FailureCause::Input, emits: Vec::new() };
        return infer(model.as_mut(), rest, (&input, bytes), context, times);
    };
    let started = context.now();
    let span = step_span(plan.name(stage)).entered();
    let reply = call(pre, stage, bytes.len(), &mut |input| input.copy_from_slice(bytes), context);
    drop(span);
    times.set_step(stage, context.now().duration_since(started));
    let Reply { output, emits } = reply?;
    let Some(output) = output else {
        return Ok(Done { output: None, encoding: ResultEncoding::Raw, emits });
    };
    context.step_ended(stage, bytes);
    let frame = Frame::decode(output).map_err(|fault| FailureCause::HandoverFrame(fault).at(stage))?;
    let rest = Rest { plan, post, misfit: FailureCause::Handover, emits };
    infer(model.as_mut(), rest, (&Decoded::Frame(frame), bytes), context, times)
}

/// The steps of a message after the model.
struct Rest<'a> {
    plan: &'a Plan,
    post: &'a mut Option<Box<dyn Transform>>,
    /// The cause to report if the input tensors do not fit the model.
    misfit: fn(ModelFault) -> FailureCause,
    emits: Vec<Emit>,
}

/// The model reads its inputs in place and lends its outputs to a callback. The post plugin runs inside the callback,
/// so no tensor is copied.
fn infer(
    model: &mut dyn Model,
    Rest { plan, post, misfit, emits }: Rest<'_>,
    (input, payload): (&Decoded<'_>, &[u8]),
    context: &dyn Context,
    times: &mut MessageTimes,
) -> Result<Done, Failure> {
    let stage = plan.model();
    let tensors = input.tensors();
    let started = context.now();
    // Closed before post begins, so a trace shows three steps in a row.
    let mut span = Some(step_span(plan.name(stage)).entered());
    let mut done = None;
    let mut model_ended = None;
    let ran = model.run(&tensors, &mut |outputs| {
        span.take();
        let ended = context.now();
        model_ended = Some(ended);
        context.step_ended(stage, payload);
        done = Some(after_model(plan, post, outputs, Some(input), context));
        if let Some(post) = plan.post() {
            times.set_step(post, context.now().duration_since(ended));
        }
    });
    context.model_ran(1);
    times.set_step(stage, model_ended.unwrap_or_else(|| context.now()).duration_since(started));
    ran.map_err(|fault| if fault.is_callers() { misfit(fault) } else { FailureCause::Model(fault) }.at(stage))?;
    let mut done = done.unwrap_or_else(|| Err(lacks_outputs().at(stage)))?;
    if !emits.is_empty() {
        done.emits.splice(0..0, emits);
    }
    Ok(done)
}

pub(crate) fn after_model(
    plan: &Plan,
    post: &mut Option<Box<dyn Transform>>,
    outputs: &[Tensor<'_>],
    input: Option<&Decoded<'_>>,
    context: &dyn Context,
) -> Result<Done, Failure> {
    let model = plan.model();
    let (Some(post), Some(stage)) = (post, plan.post()) else {
        let encoded = Decoded::encode(input, outputs).map_err(|fault| FailureCause::Result(fault).at(model));
        let (output, encoding) = encoded?;
        return Ok(Done { output: Some(output.into()), encoding, emits: Vec::new() });
    };
    let misfit = |fault| FailureCause::Outputs(fault).at(model);
    let len = frame::encoded_len(outputs).map_err(misfit)?;
    let _span = step_span(plan.name(stage)).entered();
    let mut encoded = Ok(());
    let reply = call(post, stage, len, &mut |input| encoded = frame::encode_into(outputs, input), context)?;
    encoded.map_err(misfit)?;
    Ok(Done { output: reply.output.map(Bytes::copy_from_slice), encoding: ResultEncoding::Raw, emits: reply.emits })
}

pub(crate) fn call<'a>(
    plugin: &'a mut Box<dyn Transform>,
    stage: Stage,
    len: usize,
    fill: &mut dyn FnMut(&mut [u8]),
    context: &dyn Context,
) -> Result<Reply<'a>, Failure> {
    plugin.call(len, fill, &mut |line| context.log(stage, line)).map_err(|fault| FailureCause::Plugin(fault).at(stage))
}
