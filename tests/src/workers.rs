//! Several workers to kill and restart, freeze and thaw, each with a number.

use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::Worker;
use crate::WorkerOptions;

pub struct Workers {
    url: String,
    /// The folder of their crash journals.
    state: TempDir,
    options: WorkerOptions,
    workers: Vec<Option<Worker>>,
    /// The logs of killed workers.
    logs: Vec<Vec<serde_json::Value>>,
}

impl Workers {
    /// Starts `count` workers, and waits until each serves the route.
    pub fn start(url: &str, count: usize, options: WorkerOptions) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let mut workers =
            Self { url: url.into(), state, options, workers: (0..count).map(|_| None).collect(), logs: Vec::new() };
        (0..count).for_each(|at| workers.revive(at));
        workers.workers.iter().flatten().for_each(serves);
        workers
    }

    pub fn worker(&self, at: usize) -> &Worker {
        self.workers[at].as_ref().expect("this worker lives")
    }

    /// Kills a worker as a crash does.
    pub fn kill(&mut self, at: usize) {
        if let Some(worker) = self.workers[at].take() {
            self.logs.push(block_in_place(|| worker.kill_and_read()));
        }
    }

    /// Kills all, and returns every log.
    pub fn end(mut self) -> Vec<Vec<serde_json::Value>> {
        (0..self.workers.len()).for_each(|at| self.kill(at));
        self.logs
    }

    /// Starts a missing worker, and does not wait for it to serve.
    pub fn revive(&mut self, at: usize) {
        let mut options = WorkerOptions { name: Some(format!("worker-{at}")), ..self.options.clone() };
        let state = self.state.path().to_str().expect("UTF-8").to_owned();
        options.environment.push(("INFERBUS_CRASH_JOURNAL".into(), state));
        self.workers[at] = Some(block_in_place(|| Worker::spawn(&self.url, options)));
    }
}

/// Waits until a worker pulls the route's messages.
pub fn serves(worker: &Worker) {
    block_in_place(|| worker.wait_for("route started"));
}

impl Worker {
    /// Stops the process: it answers no request until it is thawed, and its connections stay open.
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }
}
