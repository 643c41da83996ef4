//! The compute threads: each takes one job after the other from a shared bounded queue.
//!
//! Promises: a lane never awaits and never touches NATS. Every job that a lane accepts is finished, with a
//! result or a failure, even if the code it calls panics; its ticket always comes back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use inferbus_engine::ModelFault;
use inferbus_sandbox::LogLine;
use tokio::sync::mpsc;
use tracing::Span;

use crate::bundle::Bundle;
use crate::failpoint;
use crate::job::{self, Done, Failure, Stage, StageTimes, Surroundings};
use crate::journal::{Journal, Scribe};

/// A message on its way to a lane. The ticket is the bus's own and means nothing here.
pub struct Job<T> {
    pub bundle: Arc<Bundle>,
    pub payload: Bytes,
    /// The name of a message that is delivered again after a crash.
    pub name: Option<Arc<str>>,
    pub span: Span,
    pub ticket: T,
}

/// A message that a lane is done with.
pub struct Finished<T> {
    pub bundle: Arc<Bundle>,
    pub result: Result<Done, Failure>,
    pub times: StageTimes,
    pub span: Span,
    pub ticket: T,
}

/// The sending side of the lanes. The threads end when the last clone of it is gone.
pub struct Lanes<T> {
    queue: Sender<Job<T>>,
}

impl<T: Send + 'static> Lanes<T> {
    /// Starts `count` threads over a queue of `capacity` jobs. A `finished` that holds as many never blocks a lane.
    pub fn start(
        count: usize,
        capacity: usize,
        finished: &mpsc::Sender<Finished<T>>,
        journal: Option<&Arc<Journal>>,
    ) -> std::io::Result<Self> {
        let (queue, jobs) = crossbeam_channel::bounded(capacity);
        for lane in 0..count {
            let (jobs, finished) = (jobs.clone(), finished.clone());
            let scribe = journal.map(|journal| Scribe::new(journal.clone(), lane));
            let thread = std::thread::Builder::new().stack_size(inferbus_sandbox::limits::THREAD_STACK);
            thread.name(format!("lane-{lane}")).spawn(move || work(lane, &jobs, &finished, scribe))?;
        }
        Ok(Self { queue })
    }

    /// Hands a job over without waiting; gives it back when the queue is full.
    pub fn submit(&self, job: Job<T>) -> Result<(), Box<Job<T>>> {
        self.queue.try_send(job).map_err(|fault| match fault {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => Box::new(job),
        })
    }
}

fn work<T>(lane: usize, jobs: &Receiver<Job<T>>, finished: &mpsc::Sender<Finished<T>>, mut scribe: Option<Scribe>) {
    for Job { bundle, payload, name, span, ticket } in jobs {
        let digest = &bundle.identity.digest;
        let quiet = scribe.as_mut().map(|scribe| scribe.begin(digest, name.as_deref()));
        let (result, times) = span.in_scope(|| run(lane, &bundle, &payload));
        drop((payload, quiet));
        if let (Some(scribe), Some(_)) = (&scribe, &name) {
            scribe.done();
        }
        if let Some(scribe) = &mut scribe
            && !times.infer.is_zero()
        {
            scribe.ended(digest);
        }
        if finished.blocking_send(Finished { bundle, result, times, span, ticket }).is_err() {
            return;
        }
    }
}

fn run(lane: usize, bundle: &Bundle, payload: &[u8]) -> (Result<Done, Failure>, StageTimes) {
    let around = Here { bundle, payload };
    catch_unwind(AssertUnwindSafe(|| job::run(&mut bundle.parts(lane), payload, &around))).unwrap_or_else(|_| {
        tracing::error!(model = %bundle.identity.model, version = %bundle.identity.version, "a lane panicked: this is a defect of the worker");
        (Err(Failure::Model(ModelFault::Failed("the worker panicked; its log says where".into()))), StageTimes::default())
    })
}

struct Here<'a> {
    bundle: &'a Bundle,
    payload: &'a [u8],
}

impl Surroundings for Here<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn log(&self, stage: Stage, line: LogLine<'_>) {
        self.bundle.log_gate.write(&self.bundle.identity, stage, &line);
    }

    fn passed(&self, stage: Stage) {
        match stage {
            Stage::Pre => failpoint::pass(failpoint::PRE_DONE, self.payload),
            Stage::Infer => failpoint::pass(failpoint::MODEL_DONE, self.payload),
            Stage::Post => {}
        }
    }
}
