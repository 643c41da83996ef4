//! THE PATH for several messages: each runs its own pre and post, and all of one shape share one run of the model.
//!
//! Guarantees: every message ends as if it had run alone. A bad message costs the others at most one more model run.
//! Like `single.rs` this is synchronous policy.

use std::time::{Duration, Instant};

use inferbus_abi::frame::{Frame, Tensor};
use inferbus_engine::{Model, ModelFault, Signature, Stack, Stacks};
use inferbus_sandbox::{Emit, Reply};
use smallvec::SmallVec;
use tracing::Span;

use crate::context::{Context, step_span};
use crate::encoding::Decoded;
use crate::end::{Done, Ended, Failure, FailureCause, lacks_outputs};
use crate::limits;
use crate::plan::{MessageTimes, Plan, Stage};
use crate::single::{Payload, after_model, call};
use crate::transform::{Parts, Transform};

/// The size of a bundle's batches, and the wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPolicy {
    /// Messages in one run.
    pub max: usize,
    /// Fewer messages than this wait for more, up to `max_delay`.
    pub min: usize,
    pub max_delay: Duration,
}

impl BatchPolicy {
    pub const SINGLE: Self = Self { max: 1, min: 1, max_delay: Duration::ZERO };
}

/// A message of a batch.
pub struct Message<'a> {
    pub payload: Payload<'a>,
    /// The sender discards a later result.
    pub deadline: Option<Instant>,
    pub span: &'a Span,
}

/// Rejects a message whose deadline has passed.
pub fn in_time(deadline: Option<Instant>, now: Instant) -> Result<(), FailureCause> {
    match deadline {
        Some(deadline) if deadline <= now => Err(FailureCause::Late(now.duration_since(deadline))),
        _ => Ok(()),
    }
}

/// The state of a message between pre and its end.
#[derive(Default)]
struct Progress<'a> {
    times: MessageTimes,
    /// The payload's tensors, if no plugin read it.
    input: Option<Decoded<'a>>,
    emits: Vec<Emit>,
    end: Option<Result<Done, Failure>>,
}

/// Runs messages of one bundle, and returns their ends in the same order.
pub fn run(parts: &mut Parts, signature: &Signature, messages: &[Message<'_>], context: &dyn Context) -> Vec<Ended> {
    let Parts { plan, pre, model, post } = parts;
    let misfit = if pre.is_some() { FailureCause::Handover } else { FailureCause::Input };
    let progress = messages.iter().map(|_| Progress::default()).collect();
    let mut batch = Batch { messages, taken: context.now(), plan, misfit, post, context, progress };
    let mut gathered = Gathered::new(signature);
    for (index, message) in messages.iter().enumerate() {
        // Pre plugins can turn small payloads into large tensors.
        if gathered.stacks.bytes() >= limits::BATCH_BYTES {
            batch.run(&gathered, model.as_mut());
            gathered = Gathered::new(signature);
        }
        let progress = &mut batch.progress[index];
        let prepared =
            message.span.in_scope(|| before_model(plan, pre, message, &mut gathered.stacks, progress, context));
        match prepared {
            Ok(Some(stack)) => gathered.put(stack, index),
            Ok(None) => {
                let emits = std::mem::take(&mut progress.emits);
                progress.end = Some(Ok(Done { emits, ..Done::default() }));
            }
            Err(failure) => progress.end = Some(Err(failure)),
        }
    }
    batch.run(&gathered, model.as_mut());
    let end = |end: Option<_>| end.unwrap_or_else(|| Err(lacks_outputs().at(plan.model())));
    batch.progress.into_iter().map(|message| (end(message.end), message.times)).collect()
}

/// Messages before the model, grouped by stack.
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

/// Puts a message's tensors on a stack and returns the stack's index; `None` if the plugin declared no result.
fn before_model<'a>(
    plan: &Plan,
    pre: &mut Option<Box<dyn Transform>>,
    message: &Message<'a>,
    stacks: &mut Stacks<'_>,
    progress: &mut Progress<'a>,
    context: &dyn Context,
) -> Result<Option<usize>, Failure> {
    let started = context.now();
    in_time(message.deadline, started).map_err(|late| late.at(Stage::FIRST))?;
    let Payload { bytes: payload, encoding, identity } = message.payload;
    let (Some(pre), Some(stage)) = (pre, plan.pre()) else {
        let decoded = encoding.decode(payload, identity).map_err(|fault| FailureCause::Payload(fault).at(Stage::FIRST));
        let input = progress.input.insert(decoded?);
        return stacks.push(&input.tensors()).map(Some).map_err(|fault| FailureCause::Input(fault).at(plan.model()));
    };
    let span = step_span(plan.name(stage)).entered();
    let reply = call(pre, stage, payload.len(), &mut |input| input.copy_from_slice(payload), context);
    drop(span);
    progress.times.set_step(stage, context.now().duration_since(started));
    let Reply { output, emits } = reply?;
    progress.emits = emits;
    let Some(output) = output else { return Ok(None) };
    context.step_ended(stage, payload);
    let frame = Frame::decode(output).map_err(|fault| FailureCause::HandoverFrame(fault).at(stage))?;
    let tensors: SmallVec<[Tensor<'_>; 4]> = frame.tensors().collect();
    stacks.push(&tensors).map(Some).map_err(|fault| FailureCause::Handover(fault).at(plan.model()))
}

/// Runs a model, and lends each member's outputs.
type Run<'a> = dyn FnMut(&mut dyn FnMut(usize, &[Tensor<'_>])) -> Result<(), ModelFault> + 'a;

/// The messages from the model to their ends.
struct Batch<'a> {
    messages: &'a [Message<'a>],
    taken: Instant,
    plan: &'a Plan,
    /// The cause to report if tensors do not fit the model.
    misfit: fn(ModelFault) -> FailureCause,
    post: &'a mut Option<Box<dyn Transform>>,
    context: &'a dyn Context,
    progress: Vec<Progress<'a>>,
}

impl Batch<'_> {
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
            // One member may be the cause, and must not fail the others.
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

    /// Ends a message whose deadline has passed.
    fn is_late(&mut self, index: usize) -> bool {
        let late = in_time(self.messages[index].deadline, self.context.now()).err();
        let is_late = late.is_some();
        if let Some(late) = late {
            self.progress[index].end = Some(Err(late.at(Stage::FIRST)));
        }
        is_late
    }

    /// Runs the model for some messages, and ends each with the outputs lent for it.
    fn timed(&mut self, members: &[usize], run: &mut Run<'_>) -> Result<(), ModelFault> {
        let stage = self.plan.model();
        let started = self.context.now();
        let open_span =
            |index: &usize| self.messages[*index].span.in_scope(|| step_span(self.plan.name(self.plan.model())));
        let mut spans: SmallVec<[Span; 1]> = members.iter().map(open_span).collect();
        let mut model_ended = None;
        let ran = run(&mut |member, outputs| {
            // Closed before the first post begins, so a trace shows three steps in a row.
            spans.clear();
            model_ended.get_or_insert_with(|| self.context.now());
            if let Some(&index) = members.get(member) {
                self.after(index, outputs);
            }
        });
        self.context.model_ran(members.len());
        let ended = model_ended.unwrap_or_else(|| self.context.now());
        let pre = self.plan.pre();
        for &index in members {
            let times = &mut self.progress[index].times;
            times.set_step(stage, ended.duration_since(started));
            let own = pre.map_or(Duration::ZERO, |pre| times.step(pre));
            times.batch_wait = started.duration_since(self.taken).saturating_sub(own);
        }
        ran
    }

    fn after(&mut self, index: usize, outputs: &[Tensor<'_>]) {
        let (message, progress) = (&self.messages[index], &mut self.progress[index]);
        let started = self.context.now();
        self.context.step_ended(self.plan.model(), message.payload.bytes);
        let input = progress.input.as_ref();
        let mut done = message.span.in_scope(|| after_model(self.plan, self.post, outputs, input, self.context));
        if let Ok(done) = &mut done {
            done.emits.splice(0..0, std::mem::take(&mut progress.emits));
        }
        progress.end = Some(done);
        if let Some(post) = self.plan.post() {
            progress.times.set_step(post, self.context.now().duration_since(started));
        }
    }

    fn fail(&mut self, members: &[usize], fault: ModelFault) {
        for &index in members {
            let fault = fault.clone();
            let cause = if fault.is_callers() { (self.misfit)(fault) } else { FailureCause::Model(fault) };
            self.progress[index].end = Some(Err(cause.at(self.plan.model())));
        }
    }
}
