//! A worker process, its log and its end.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crate::PATIENCE;
use crate::plugin_cache;
use crate::program;

#[derive(Clone, Debug, Default)]
pub struct WorkerOptions {
    pub name: Option<String>,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
}

pub struct Worker {
    child: Child,
    log: Arc<Log>,
    /// Hangs up when the log ends, and so the process.
    ended: Mutex<Receiver<()>>,
    /// The `host:port` of health, readiness and metrics.
    pub admin: String,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<serde_json::Value>>,
    grew: Condvar,
}

impl Worker {
    /// Starts a worker and waits until it takes messages.
    pub fn start(url: &str) -> Self {
        Self::start_with(url, WorkerOptions::default())
    }

    pub fn start_with(url: &str, options: WorkerOptions) -> Self {
        let worker = Self::spawn(url, options);
        worker.wait_for("worker accepts requests");
        worker
    }

    /// Starts a worker and waits only until its admin address is known.
    pub fn spawn(url: &str, options: WorkerOptions) -> Self {
        let mut command = Command::new(program());
        command.args(["worker", "--server", url, "--admin", "127.0.0.1:0", "--log-format", "json", "--lanes", "2"]);
        if let Some(name) = &options.name {
            command.args(["--worker-name", name]);
        }
        command
            .env("INFERBUS_CACHE", plugin_cache())
            .env("INFERBUS_CRASH_JOURNAL", "off")
            // Most tests change artifacts, and the worker must see the change.
            .env("INFERBUS_CACHE_SIZE", "off")
            .args(&options.arguments)
            .envs(options.environment);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the worker starts");
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        let writer = log.clone();
        let (running, ended) = channel();
        std::thread::spawn(move || {
            let _running = running;
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(serde_json::Value::String(line));
                writer.lines.lock().expect("log").push(line);
                writer.grew.notify_all();
            }
        });
        let mut worker = Self { child, log, ended: Mutex::new(ended), admin: String::new() };
        let line = worker.wait_for("serving health, readiness and metrics");
        worker.admin = line["address"].as_str().expect("an address").to_owned();
        worker
    }

    /// Waits for a log line with `text` in its message, and returns the line.
    pub fn wait_for(&self, text: &str) -> serde_json::Value {
        self.wait_until(text, |line| has_message(line, text))
    }

    /// Waits for the first fitting log line.
    pub fn wait_until(&self, what: &str, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        self.wait_until_after(0, what, fits).0
    }

    /// Waits for the first fitting line at or after `start`; returns it with the next place.
    pub fn wait_until_after(
        &self,
        start: usize,
        what: &str,
        fits: impl Fn(&serde_json::Value) -> bool,
    ) -> (serde_json::Value, usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.log.lines.lock().expect("log");
        loop {
            if let Some(at) = lines.iter().skip(start).position(&fits) {
                return (lines[start + at].clone(), start + at + 1);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the worker never logged `{what}`; its log:\n{}", text_of(&lines));
            lines = self.log.grew.wait_timeout(lines, left).expect("log").0;
        }
    }

    /// How many lines the log has now.
    pub fn log_len(&self) -> usize {
        self.log.lines.lock().expect("log").len()
    }

    pub fn log_text(&self) -> String {
        text_of(&self.log.lines.lock().expect("log"))
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends SIGTERM without waiting.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "the worker is gone already");
    }

    /// Stops the worker like an orchestrator, and returns its exit code.
    pub fn stop(self) -> Option<i32> {
        self.terminate();
        self.end()
    }

    /// Waits for the worker's end, and returns its exit code.
    pub fn end(mut self) -> Option<i32> {
        let ended = self.ended.lock().expect("ended").recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "the worker did not end; its log:\n{}", self.log_text());
        self.child.wait().expect("the worker ends").code()
    }

    /// [`Worker::end`], with the log.
    pub fn end_with_log(self) -> (Option<i32>, String) {
        let log = self.log.clone();
        let code = self.end();
        let text = text_of(&log.lines.lock().expect("log"));
        (code, text)
    }

    /// Kills the worker as a crash does.
    pub fn kill(mut self) {
        self.child.kill().expect("the worker is killed");
        self.child.wait().expect("the worker is reaped");
    }
}

impl Worker {
    /// Kills the worker like a crash, and returns its log.
    pub fn kill_and_read(mut self) -> Vec<serde_json::Value> {
        self.child.kill().expect("the worker is killed");
        let ended = self.ended.lock().expect("ended").recv_timeout(PATIENCE);
        assert_eq!(ended, Err(RecvTimeoutError::Disconnected), "the log ends with the worker");
        self.log.lines.lock().expect("log").clone()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a log line has these words in its message.
pub fn has_message(line: &serde_json::Value, words: &str) -> bool {
    line["message"].as_str().is_some_and(|message| message.contains(words))
}

fn text_of(lines: &[serde_json::Value]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}
