//! THE PATH for several messages at once: each through its own pre and post, and all of one shape through one run of the model.
//!
//! Promises: every message gets its own end, as if it had been alone. Whatever is wrong with one of them costs its neighbours
//! at most the time of running the model again without it. Like `job.rs` this is pure policy, and never waits.

use std::time::Instant;

use inferbus_abi::frame::{Frame, Tensor};
use inferbus_engine::{Model, ModelFault, Signature, Stack, Stacks};
use inferbus_sandbox::{Emit, Reply};
use smallvec::SmallVec;
use tracing::Span;

use crate::job::{
    Done, Ended, Failure, Parts, Payload, Stage, StageTimes, Surroundings, Transform, after_model, call, lacks_outputs,
};
use crate::limits;
use crate::telemetry::stage_span;
use crate::wire::Decoded;

/// A message as the path sees it.
pub struct Message<'a> {
    pub payload: Payload<'a>,
    /// Nobody wants its result later than this.
    pub deadline: Option<Instant>,
    pub span: &'a Span,
}

impl Message<'_> {
    pub fn in_time(&self, now: Instant) -> Result<(), Failure> {
        match self.deadline {
            Some(deadline) if deadline <= now => Err(Failure::Late(now.duration_since(deadline))),
            _ => Ok(()),
        }
    }
}

/// What is known of a message between pre and its end.
#[derive(Default)]
struct Underway<'a> {
    times: StageTimes,
    /// The payload, where no plugin read it.
    given: Option<Decoded<'a>>,
    emits: Vec<Emit>,
    end: Option<Result<Done, Failure>>,
}

/// Runs messages of one bundle, and gives each its end in the order in which they came.
pub fn run(
    parts: &mut Parts,
    signature: &Signature,
    messages: &[Message<'_>],
    around: &dyn Surroundings,
) -> Vec<Ended> {
    let Parts { pre, model, post } = parts;
    let taken = around.now();
    let mut stacks = Stacks::new(signature, limits::BATCH_BYTES);
    let mut underway: Vec<Underway<'_>> = messages.iter().map(|_| Underway::default()).collect();
    let mut members: Vec<Vec<usize>> = Vec::new();
    for (index, (message, underway)) in messages.iter().zip(&mut underway).enumerate() {
        match message.span.in_scope(|| before_model(pre, message, &mut stacks, underway, around)) {
            Ok(Some(stack)) => {
                members.resize_with(members.len().max(stack + 1), Vec::new);
                members[stack].push(index);
            }
            Ok(None) => {
                let emits = std::mem::take(&mut underway.emits);
                underway.end = Some(Ok(Done { emits, ..Done::default() }));
            }
            Err(failure) => underway.end = Some(Err(failure)),
        }
    }
    let mut shared = Shared { messages, taken, post, around, underway };
    for ((stack, _), members) in stacks.iter().zip(&members) {
        shared.run(&stacks, stack, members, model.as_mut());
    }
    let end = |end: Option<_>| end.unwrap_or_else(lacks_outputs);
    shared.underway.into_iter().map(|message| (end(message.end), message.times)).collect()
}

/// Has a message's tensors put on a stack, and says on which; on none if the plugin gave no result.
fn before_model<'a>(
    pre: &mut Option<Box<dyn Transform>>,
    message: &Message<'a>,
    stacks: &mut Stacks<'_>,
    underway: &mut Underway<'a>,
    around: &dyn Surroundings,
) -> Result<Option<usize>, Failure> {
    let started = around.now();
    message.in_time(started)?;
    let Payload { bytes: payload, wire, identity } = message.payload;
    let Some(pre) = pre else {
        let given = underway.given.insert(wire.decode(payload, identity).map_err(Failure::Payload)?);
        return stacks.push(&given.tensors()).map(Some).map_err(Failure::Input);
    };
    let span = stage_span(Stage::Pre).entered();
    let reply = call(pre, Stage::Pre, payload.len(), &mut |input| input.copy_from_slice(payload), around);
    drop(span);
    underway.times.pre = around.now().duration_since(started);
    let Reply { output, emits } = reply?;
    underway.emits = emits;
    let Some(output) = output else { return Ok(None) };
    around.passed(Stage::Pre, payload);
    let frame = Frame::decode(output).map_err(Failure::HandoverFrame)?;
    let tensors: SmallVec<[Tensor<'_>; 4]> = frame.tensors().collect();
    stacks.push(&tensors).map(Some).map_err(Failure::Handover)
}

/// The messages from the model on.
struct Shared<'a> {
    messages: &'a [Message<'a>],
    taken: Instant,
    post: &'a mut Option<Box<dyn Transform>>,
    around: &'a dyn Surroundings,
    underway: Vec<Underway<'a>>,
}

impl Shared<'_> {
    fn run(&mut self, stacks: &Stacks<'_>, stack: &Stack, members: &[usize], model: &mut dyn Model) {
        let ran = self.timed(members, &mut |each| stacks.run(stack, model, each));
        match ran {
            Ok(()) => {}
            Err(fault) if members.len() == 1 => self.fail(members, fault),
            // One of them may be to blame, and must not fail the others.
            Err(_) => {
                for (member, index) in members.iter().enumerate() {
                    let ran = self.timed(&[*index], &mut |each| {
                        stacks.run_alone(stack, member, model, &mut |outputs| each(0, outputs))
                    });
                    if let Err(fault) = ran {
                        self.fail(&[*index], fault);
                    }
                }
            }
        }
    }

    /// Has the model run for some messages, and brings each to its end with the outputs that are lent for it.
    fn timed(
        &mut self,
        members: &[usize],
        run: &mut dyn FnMut(&mut dyn FnMut(usize, &[Tensor<'_>])) -> Result<(), ModelFault>,
    ) -> Result<(), ModelFault> {
        let started = self.around.now();
        let infer_span = |index: &usize| self.messages[*index].span.in_scope(|| stage_span(Stage::Infer));
        let mut spans: SmallVec<[Span; 1]> = members.iter().map(infer_span).collect();
        let mut model_ended = None;
        let ran = run(&mut |member, outputs| {
            // Left before the first post begins, so that a trace shows three stages in a row.
            spans.clear();
            let ended = *model_ended.get_or_insert_with(|| self.around.now());
            if let Some(&index) = members.get(member) {
                self.after(index, outputs);
                self.underway[index].times.infer = ended.duration_since(started);
            }
        });
        self.around.ran(members.len());
        for &index in members {
            let times = &mut self.underway[index].times;
            times.gathering = started.duration_since(self.taken).saturating_sub(times.pre);
        }
        ran
    }

    fn after(&mut self, index: usize, outputs: &[Tensor<'_>]) {
        let (message, underway) = (&self.messages[index], &mut self.underway[index]);
        let started = self.around.now();
        self.around.passed(Stage::Infer, message.payload.bytes);
        let mut done = message.span.in_scope(|| after_model(self.post, outputs, underway.given.as_ref(), self.around));
        if let Ok(done) = &mut done {
            done.emits.splice(0..0, std::mem::take(&mut underway.emits));
        }
        underway.end = Some(done);
        underway.times.post = self.around.now().duration_since(started);
    }

    fn fail(&mut self, members: &[usize], fault: ModelFault) {
        for &index in members {
            self.underway[index].end = Some(Err(Failure::Model(fault.clone())));
        }
    }
}
