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
use crate::observe::telemetry::stage_span;
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
    let misfit = if pre.is_some() { Failure::Handover } else { Failure::Input };
    let underway = messages.iter().map(|_| Underway::default()).collect();
    let mut shared = Shared { messages, taken: around.now(), misfit, post, around, underway };
    let mut gathered = Gathered::new(signature);
    for (index, message) in messages.iter().enumerate() {
        // What pre plugins make of small payloads can be large.
        if gathered.stacks.bytes() >= limits::BATCH_BYTES {
            shared.run(&gathered, model.as_mut());
            gathered = Gathered::new(signature);
        }
        let underway = &mut shared.underway[index];
        match message.span.in_scope(|| before_model(pre, message, &mut gathered.stacks, underway, around)) {
            Ok(Some(stack)) => gathered.put(stack, index),
            Ok(None) => {
                let emits = std::mem::take(&mut underway.emits);
                underway.end = Some(Ok(Done { emits, ..Done::default() }));
            }
            Err(failure) => underway.end = Some(Err(failure)),
        }
    }
    shared.run(&gathered, model.as_mut());
    let end = |end: Option<_>| end.unwrap_or_else(lacks_outputs);
    shared.underway.into_iter().map(|message| (end(message.end), message.times)).collect()
}

/// Messages that wait for the model, by the stacks that they are on.
struct Gathered<'s> {
    stacks: Stacks<'s>,
    members: Vec<Vec<usize>>,
}

impl<'s> Gathered<'s> {
    fn new(signature: &'s Signature) -> Self {
        Self { stacks: Stacks::new(signature, limits::BATCH_BYTES), members: Vec::new() }
    }

    fn put(&mut self, stack: usize, index: usize) {
        self.members.resize_with(self.members.len().max(stack + 1), Vec::new);
        self.members[stack].push(index);
    }
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

/// Runs a model, and lends each member's outputs.
type Run<'a> = dyn FnMut(&mut dyn FnMut(usize, &[Tensor<'_>])) -> Result<(), ModelFault> + 'a;

/// The messages from the model on.
struct Shared<'a> {
    messages: &'a [Message<'a>],
    taken: Instant,
    /// Whose fault it is if tensors do not fit the model.
    misfit: fn(ModelFault) -> Failure,
    post: &'a mut Option<Box<dyn Transform>>,
    around: &'a dyn Surroundings,
    underway: Vec<Underway<'a>>,
}

impl Shared<'_> {
    fn run(&mut self, gathered: &Gathered<'_>, model: &mut dyn Model) {
        for ((stack, _), members) in gathered.stacks.iter().zip(&gathered.members) {
            self.run_stack(&gathered.stacks, stack, members, model);
        }
    }

    fn run_stack(&mut self, stacks: &Stacks<'_>, stack: &Stack, members: &[usize], model: &mut dyn Model) {
        if members.iter().filter(|index| self.is_late(**index)).count() == members.len() {
            return;
        }
        match self.timed(members, &mut |each| stacks.run(stack, model, each)) {
            Ok(()) => {}
            Err(fault) if members.len() == 1 => self.fail(members, fault),
            // One of them may be to blame, and must not fail the others.
            Err(_) => {
                for (member, index) in members.iter().enumerate() {
                    self.run_alone(stacks, stack, (member, *index), model);
                }
            }
        }
    }

    fn run_alone(
        &mut self,
        stacks: &Stacks<'_>,
        stack: &Stack,
        (member, index): (usize, usize),
        model: &mut dyn Model,
    ) {
        if self.is_late(index) {
            return;
        }
        let run = &mut |each: &mut dyn FnMut(usize, &[Tensor<'_>])| {
            stacks.run_alone(stack, member, model, &mut |outputs| each(0, outputs))
        };
        if let Err(fault) = self.timed(&[index], run) {
            self.fail(&[index], fault);
        }
    }

    /// Whether nobody wants a message's result any more, which is its end then.
    fn is_late(&mut self, index: usize) -> bool {
        let late = self.messages[index].in_time(self.around.now()).err();
        let is_late = late.is_some();
        if let Some(late) = late {
            self.underway[index].end = Some(Err(late));
        }
        is_late
    }

    /// Has the model run for some messages, and brings each to its end with the outputs that are lent for it.
    fn timed(&mut self, members: &[usize], run: &mut Run<'_>) -> Result<(), ModelFault> {
        let started = self.around.now();
        let infer_span = |index: &usize| self.messages[*index].span.in_scope(|| stage_span(Stage::Infer));
        let mut spans: SmallVec<[Span; 1]> = members.iter().map(infer_span).collect();
        let mut model_ended = None;
        let ran = run(&mut |member, outputs| {
            // Left before the first post begins, so that a trace shows three stages in a row.
            spans.clear();
            model_ended.get_or_insert_with(|| self.around.now());
            if let Some(&index) = members.get(member) {
                self.after(index, outputs);
            }
        });
        self.around.ran(members.len());
        let ended = model_ended.unwrap_or_else(|| self.around.now());
        for &index in members {
            let times = &mut self.underway[index].times;
            times.infer = ended.duration_since(started);
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
            let fault = fault.clone();
            let failure = if fault.is_callers() { (self.misfit)(fault) } else { Failure::Model(fault) };
            self.underway[index].end = Some(Err(failure));
        }
    }
}
