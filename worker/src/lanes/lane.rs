//! The compute threads: each takes one turn after the other from a shared bounded queue.
//!
//! Promises: a lane never awaits and never touches NATS. Every job that a lane accepts is finished, with a
//! result or a failure, even if the code it calls panics; its ticket always comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use inferbus_engine::ModelFault;
use inferbus_sandbox::LogLine;
use smallvec::{SmallVec, smallvec};
use tokio::sync::mpsc;
use tracing::Span;

use crate::crashes::journal::{Journal, Scribe};
use crate::failpoint;
use crate::job::{self, Done, Ended, Failure, Payload, Stage, StageTimes, Surroundings};
use crate::lanes::queue::{Queue, Turn, Waits};
use crate::models::bundle::Bundle;
use crate::together::{self, Message};
use crate::wire::Wire;

/// A message on its way to a lane. The ticket is the bus's own and means nothing here.
pub struct Job<T> {
    pub bundle: Arc<Bundle>,
    pub payload: Bytes,
    pub wire: Wire,
    /// The name of a message that is delivered again after a crash.
    pub name: Option<Arc<str>>,
    pub received: Instant,
    /// Nobody wants its result later than this.
    pub deadline: Option<Instant>,
    /// Whether it goes before all that are not.
    pub urgent: bool,
    pub span: Span,
    pub ticket: T,
}

impl<T> Waits for Job<T> {
    fn same_line(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bundle, &other.bundle)
    }

    fn turn(&self) -> Turn {
        self.bundle.turn
    }

    fn is_urgent(&self) -> bool {
        self.urgent
    }

    fn bytes(&self) -> usize {
        self.payload.len()
    }

    fn since(&self) -> Instant {
        self.received
    }

    fn may_begin(&self) -> bool {
        self.bundle.may_begin()
    }

    fn begin(&self) {
        self.bundle.begin();
    }
}

impl<T> Job<T> {
    fn message(&self) -> Message<'_> {
        let payload = Payload { bytes: &self.payload, wire: self.wire, identity: &self.bundle.identity };
        Message { payload, deadline: self.deadline, span: &self.span }
    }
}

/// A message that a lane is done with.
pub struct Finished<T> {
    pub bundle: Arc<Bundle>,
    pub result: Result<Done, Failure>,
    pub times: StageTimes,
    pub span: Span,
    pub ticket: T,
}

/// The sending side of the lanes. The threads end when it is gone and the queue is empty.
pub struct Lanes<T> {
    queue: Arc<Queue<Job<T>>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// Starts `count` threads over a queue of `capacity` jobs. A `finished` that holds as many never blocks a lane.
    pub fn start(
        count: usize,
        capacity: usize,
        finished: &mpsc::Sender<Finished<T>>,
        journal: Option<&Arc<Journal>>,
    ) -> std::io::Result<Self> {
        let lanes = Self { queue: Arc::new(Queue::new(capacity)) };
        for number in 0..count {
            let scribe = journal.map(|journal| Scribe::new(journal.clone(), number));
            let lane = Lane { number, finished: finished.clone(), scribe };
            let queue = lanes.queue.clone();
            let thread = std::thread::Builder::new().stack_size(inferbus_sandbox::limits::THREAD_STACK);
            thread.name(format!("lane-{number}")).spawn(move || lane.work(&queue))?;
        }
        Ok(lanes)
    }

    /// Hands a job over without waiting; gives it back when the queue is full.
    pub fn submit(&self, job: Job<T>) -> Result<(), Box<Job<T>>> {
        self.queue.push(job)
    }

    /// From now on no job waits for others to share its run: there may be none.
    pub fn hurry(&self) {
        self.queue.hurry();
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
    scribe: Option<Scribe>,
}

impl<T> Lane<T> {
    fn work(mut self, queue: &Queue<Job<T>>) {
        let mut turn = Vec::new();
        while queue.take(&mut turn) {
            let bundle = turn.first().map(|job| job.bundle.clone());
            if self.run_turn(&mut turn).is_none() {
                return;
            }
            if bundle.is_some_and(|bundle| bundle.leave()) {
                queue.freed();
            }
        }
    }

    /// A crash of a suspect must be its own, so it shares no run.
    fn run_turn(&mut self, turn: &mut Vec<Job<T>>) -> Option<()> {
        let scribe = self.scribe.as_ref();
        let is_suspect =
            |job: &mut Job<T>| job.name.as_ref().is_some_and(|name| scribe.is_some_and(|scribe| scribe.suspects(name)));
        let suspects: Vec<_> = turn.extract_if(.., is_suspect).collect();
        for suspect in suspects {
            self.run(&mut vec![suspect])?;
        }
        if turn.is_empty() { Some(()) } else { self.run(turn) }
    }

    /// Runs jobs of one bundle, and hands each on. Says nothing when nobody is left to take them.
    fn run(&mut self, turn: &mut Vec<Job<T>>) -> Option<()> {
        let taken = Instant::now();
        let bundle = turn.first()?.bundle.clone();
        let digest = &bundle.identity.digest;
        let names = turn.iter().filter_map(|job| job.name.as_deref());
        let quiet = self.scribe.as_mut().map(|scribe| scribe.begin(digest, names));
        let ends = compute(self.number, &bundle, turn);
        drop(quiet);
        if let Some(scribe) = &mut self.scribe {
            scribe.done(turn.iter().filter_map(|job| job.name.as_deref()));
            if ends.iter().any(|(_, times)| !times.infer.is_zero()) {
                scribe.ended(digest);
            }
        }
        for (job, (result, mut times)) in turn.drain(..).zip(ends) {
            let Job { bundle, span, ticket, received, .. } = job;
            times.queue = taken.saturating_duration_since(received);
            self.finished.blocking_send(Finished { bundle, result, times, span, ticket }).ok()?;
        }
        Some(())
    }
}

fn compute<T>(lane: usize, bundle: &Bundle, turn: &[Job<T>]) -> SmallVec<[Ended; 1]> {
    let around = Here { bundle };
    let run = || match turn {
        [job] => {
            let message = job.message();
            let in_time = message.in_time(around.now());
            let run = || job.span.in_scope(|| job::run(&mut bundle.parts(lane), message.payload, &around));
            smallvec![in_time.map_or_else(|late| (Err(late), StageTimes::default()), |()| run())]
        }
        turn => {
            let messages: Vec<_> = turn.iter().map(Job::message).collect();
            together::run(&mut bundle.parts(lane), &bundle.signature, &messages, &around).into()
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
        let identity = &bundle.identity;
        tracing::error!(model = %identity.model, version = %identity.version, "a lane panicked: this is a defect of the worker");
        let fault = || ModelFault::Failed("the worker panicked; its log says where".into());
        turn.iter().map(|_| (Err(Failure::Model(fault())), StageTimes::default())).collect()
    })
}

struct Here<'a> {
    bundle: &'a Bundle,
}

impl Surroundings for Here<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        self.bundle.log_gate.write(&self.bundle.identity, stage, &line);
    }

    fn ran(&self, messages: usize) {
        self.bundle.metrics.ran(messages);
    }

    fn passed(&self, stage: Stage, payload: &[u8]) {
        match stage {
            Stage::Pre => failpoint::pass(failpoint::PRE_DONE, payload),
            Stage::Infer => failpoint::pass(failpoint::MODEL_DONE, payload),
            Stage::Post => {}
        }
    }
}
