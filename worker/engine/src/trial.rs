//! Loads a model in a separate process first: ONNX Runtime is native code, and some models crash their process.
//!
//! The process loads the model and runs it once on zeros.
//!
//! Guarantees: for any model, the caller gets a report or a fault within [`TrialBounds::time`].
//! The process has then ended.

mod child;
mod wire;

use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{ffi::OsStr, fs::File};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

pub use child::load_child;
pub use wire::TrialReport;

use crate::fault::one_line;
use crate::limits;
use crate::model_file::examine;
use crate::{Backend, EngineFault, Options};
use wire::{Answer, TrialJob};

/// A program that calls [`load_child`] with all further arguments.
#[derive(Clone, Debug)]
pub struct TrialProcess {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub bounds: TrialBounds,
}

/// The bounds for loading one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBounds {
    /// Bytes of address space. Unbounded for providers with device memory.
    pub memory: u64,
    /// Additional address space for each byte of the model.
    pub memory_per_byte: u64,
    /// Whole seconds, over all threads.
    pub processor_time: Duration,
    /// Wall-clock time, also on a busy machine.
    pub time: Duration,
}

impl Default for TrialBounds {
    fn default() -> Self {
        Self {
            memory: limits::TRIAL_MEMORY,
            memory_per_byte: limits::TRIAL_MEMORY_PER_BYTE,
            processor_time: limits::TRIAL_PROCESSOR_TIME,
            time: limits::TRIAL_TIME,
        }
    }
}

/// Environment variables with the locations of libraries and devices.
const PASSED_ON: [&str; 2] = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"];

impl TrialProcess {
    /// Loads a model in the process, like [`Backend::load`].
    pub fn load(
        &self,
        backend: impl Into<Backend>,
        bytes: &[u8],
        options: Options,
    ) -> Result<TrialReport, EngineFault> {
        examine(bytes, &options)?;
        let deadline = Instant::now() + self.bounds.time;
        let no_process = |why: io::Error| EngineFault::NoTrial { why: one_line(&why.to_string()) };
        let job =
            TrialJob { memory: self.memory(bytes, &options), processor_time: self.bounds.processor_time, options };
        let mut running = Running::start(self, &backend.into().argument(), &job, bytes).map_err(no_process)?;
        let in_time = running.wait(deadline).map_err(no_process)?;
        let status = running.end().map_err(no_process)?;
        let (answer, words) =
            (contents(&running.answer).map_err(no_process)?, contents(&running.words).map_err(no_process)?);
        match Answer::of(&answer) {
            Some(Answer::Fine(loaded)) => Ok(loaded),
            Some(Answer::Refused(why)) => Err(EngineFault::Refused(one_line(&why))),
            Some(Answer::OutOfMemory) => Err(EngineFault::TrialOutOfMemory { limit: job.memory.unwrap_or(u64::MAX) }),
            Some(Answer::Fault(why)) => Err(EngineFault::InTrial(one_line(&why))),
            None if !in_time => Err(EngineFault::TrialTooSlow { limit: self.bounds.time }),
            None => Err(self.crashed(&job, status, &words)),
        }
    }

    fn memory(&self, bytes: &[u8], options: &Options) -> Option<u64> {
        let TrialBounds { memory, memory_per_byte, .. } = self.bounds;
        options.provider.is_cpu().then(|| memory.saturating_add(memory_per_byte.saturating_mul(bytes.len() as u64)))
    }

    /// The fault for a process that ended without an answer.
    fn crashed(&self, job: &TrialJob, status: ExitStatus, words: &[u8]) -> EngineFault {
        let words = one_line(&String::from_utf8_lossy(words));
        let memory = job.memory.unwrap_or(u64::MAX);
        let no_memory = ["memory allocation of", "bad_alloc"].iter().any(|text| words.contains(text));
        match status.signal() {
            Some(signal) if signal == Signal::XCPU.as_raw() => {
                EngineFault::TrialOutOfTime { limit: self.bounds.processor_time }
            }
            Some(signal) if signal == Signal::ABORT.as_raw() && no_memory => {
                EngineFault::TrialOutOfMemory { limit: memory }
            }
            Some(signal) => EngineFault::TrialDied { how: format!("signal {signal}"), words },
            None => EngineFault::TrialDied { how: status.to_string(), words },
        }
    }
}

/// A process that does not outlive this value, with the files for its answer and its error output. They are files
/// instead of pipes, so that neither side waits for the other to read.
struct Running {
    process: Child,
    answer: File,
    words: File,
}

impl Running {
    fn start(trial: &TrialProcess, backend: &OsStr, job: &TrialJob, model: &[u8]) -> io::Result<Self> {
        let mut input = unnamed("model")?;
        input.write_all(model)?;
        input.rewind()?;
        let (answer, words) = (unnamed("answer")?, unnamed("words")?);
        let mut command = Command::new(&trial.program);
        // A separate process group: an interrupt from the worker's terminal must not reach the trial.
        command.args(&trial.arguments).env_clear().current_dir("/").process_group(0);
        command.envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
        command.arg(backend).args(job.arguments());
        command.stdin(input).stdout(answer.try_clone()?).stderr(words.try_clone()?);
        Ok(Self { process: command.spawn()?, answer, words })
    }

    /// Waits for the process and returns whether it ended before the deadline.
    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let gone = || io::Error::other("its process id is invalid");
        let number = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
        let process = pidfd_open(number, PidfdFlags::empty())?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&process.as_fd(), PollFlags::IN)], Some(&time)) {
                Ok(0) if left.is_zero() => return Ok(false),
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(true),
                Err(fault) => return Err(fault.into()),
            }
        }
    }

    /// Ends the process if it still runs. A process that has ended keeps its status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let killed = self.process.kill();
        // Always waited for, so that no zombie remains.
        let status = self.process.wait();
        killed.and(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended before.
        let _ = self.end();
    }
}

/// A file in memory. Without a name, other processes cannot open it.
fn unnamed(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

fn contents(mut file: &File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(limits::TRIAL_WORDS).read_to_end(&mut bytes)?;
    Ok(bytes)
}
