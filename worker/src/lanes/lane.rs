//! The compute threads: each takes one turn after another from a shared bounded queue.
//!
//! Guarantees: a lane never awaits and never touches NATS. Every accepted job ends with a result or a failure and its
//! ticket, even if the called code panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use inferbus_engine::ModelFault;
use inferbus_pipeline::batch;
use inferbus_pipeline::single::{self, in_time};
use inferbus_pipeline::{Context, Done, Ended, Failure, FailureCause, MessageTimes, Stage};
use inferbus_sandbox::LogLine;
use smallvec::{SmallVec, smallvec};
use tokio::sync::mpsc;
use tracing::Span;

use super::queue::{Job, Queue};
use crate::crashes::journal::{Journal, LaneJournal};
use crate::failpoint;
use crate::models::bundle::Bundle;

/// A message after its lane.
pub struct Finished<T> {
    pub bundle: Arc<Bundle>,
    pub result: Result<Done, Failure>,
    pub times: MessageTimes,
    pub span: Span,
    pub ticket: T,
}

impl<T> Finished<T> {
    pub fn split(self) -> (Finished<()>, T) {
        let Self { bundle, result, times, span, ticket } = self;
        (Finished { bundle, result, times, span, ticket: () }, ticket)
    }
}

/// The sending side of the lanes. The threads end when it is gone and the queue is empty.
pub struct Lanes<T> {
    queue: Arc<Queue<Job<T>>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// Starts `count` threads over a queue of `capacity` jobs. A `finished` of the same capacity never blocks a lane.
    pub fn start(
        count: usize,
        capacity: usize,
        finished: &mpsc::Sender<Finished<T>>,
        journal: Option<&Arc<Journal>>,
    ) -> std::io::Result<Self> {
        let lanes = Self { queue: Arc::new(Queue::new(capacity)) };
        for number in 0..count {
            let journal = journal.map(|journal| LaneJournal::new(journal.clone(), number));
            let lane = Lane { number, finished: finished.clone(), journal };
            let queue = lanes.queue.clone();
            let thread = std::thread::Builder::new().stack_size(inferbus_sandbox::limits::THREAD_STACK);
            thread.name(format!("lane-{number}")).spawn(move || lane.work(&queue))?;
        }
        Ok(lanes)
    }

    /// Queues a job without waiting; returns it when the queue is full.
    pub fn submit(&self, job: Job<T>) -> Result<(), Box<Job<T>>> {
        self.queue.push(job)
    }

    /// The queue, for senders on the message path.
    pub fn queue(&self) -> Arc<Queue<Job<T>>> {
        self.queue.clone()
    }

    /// From now on no job waits for a larger batch.
    pub fn stop_batching_delay(&self) {
        self.queue.stop_batching_delay();
    }
}

impl<T> Drop for Lanes<T> {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Lane<T> {
    number: usize,
    finished: mpsc::Sender<Finished<T>>,
    journal: Option<LaneJournal>,
}

impl<T> Lane<T> {
    fn work(mut self, queue: &Queue<Job<T>>) {
        let mut turn = Vec::new();
        while queue.take(&mut turn) {
            let bundle = turn.first().map(|job| job.bundle.clone());
            if self.run_turn(&mut turn).is_none() {
                return;
            }
            if bundle.is_some_and(|bundle| bundle.end_turn()) {
                queue.line_freed();
            }
        }
    }

    /// Suspects run alone, so a crash has one cause. `None` when the receiver of finished messages is gone.
    fn run_turn(&mut self, turn: &mut Vec<Job<T>>) -> Option<()> {
        let journal = self.journal.as_ref();
        let is_suspect = |job: &mut Job<T>| {
            job.name.as_ref().is_some_and(|name| journal.is_some_and(|journal| journal.suspects(name)))
        };
        let suspects: Vec<_> = turn.extract_if(.., is_suspect).collect();
        for suspect in suspects {
            self.run(&mut vec![suspect])?;
        }
        if turn.is_empty() { Some(()) } else { self.run(turn) }
    }

    /// Runs jobs of one bundle, and sends each on. `None` when the receiver of finished messages is gone.
    fn run(&mut self, turn: &mut Vec<Job<T>>) -> Option<()> {
        let taken = Instant::now();
        let bundle = turn.first()?.bundle.clone();
        let digest = &bundle.identity.digest;
        let names = turn.iter().filter_map(|job| job.name.as_deref());
        let exclusion = self.journal.as_mut().map(|journal| journal.begin(digest, names));
        let ends = compute(self.number, &bundle, turn);
        drop(exclusion);
        if let Some(journal) = &mut self.journal {
            journal.done(turn.iter().filter_map(|job| job.name.as_deref()));
            if ends.iter().any(|(_, times)| !times.step(bundle.plan.model()).is_zero()) {
                journal.model_returned(digest);
            }
        }
        for (job, (result, mut times)) in turn.drain(..).zip(ends) {
            let Job { bundle, span, ticket, received, .. } = job;
            times.lane_wait = taken.saturating_duration_since(received);
            self.finished.blocking_send(Finished { bundle, result, times, span, ticket }).ok()?;
        }
        Some(())
    }
}

fn compute<T>(lane: usize, bundle: &Bundle, turn: &[Job<T>]) -> SmallVec<[Ended; 1]> {
    let context = LaneContext { bundle };
    let run = || match turn {
        [job] => {
            if let Err(late) = in_time(job.deadline, context.now()) {
                return smallvec![(Err(late.at(Stage::FIRST)), MessageTimes::default())];
            }
            smallvec![job.span.in_scope(|| single::run(&mut bundle.parts(lane), job.payload(), &context))]
        }
        turn => {
            let messages: Vec<_> = turn.iter().map(Job::message).collect();
            batch::run(&mut bundle.parts(lane), &bundle.signature, &messages, &context).into()
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let identity = &bundle.identity;
        tracing::error!(
            model = %identity.model, version = %identity.version,
            "a lane panicked: this is a defect of the worker; report it with the panic message above"
        );
        let cause = || FailureCause::Model(ModelFault::Failed("the worker panicked; see its log".into()));
        turn.iter().map(|_| (Err(cause().at(bundle.plan.model())), MessageTimes::default())).collect()
    })
}

struct LaneContext<'a> {
    bundle: &'a Bundle,
}

impl Context for LaneContext<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        self.bundle.log_gate.write(&self.bundle.identity, self.bundle.plan.name(stage), &line);
    }

    fn model_ran(&self, messages: usize) {
        self.bundle.metrics.model_ran(messages);
    }

    fn step_ended(&self, stage: Stage, payload: &[u8]) {
        let point = if stage < self.bundle.plan.model() { failpoint::PRE_DONE } else { failpoint::MODEL_DONE };
        failpoint::pass(point, payload);
    }
}
