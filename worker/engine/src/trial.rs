//! Loads a model in a process of its own first: ONNX Runtime is native code, and some models end the process that loads them.
//!
//! Promises: whatever a model does to ONNX Runtime while it is loaded and run once on zeros, the caller has what it takes or
//! a fault within [`TrialBounds::time`], and the process is not left behind.

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

use crate::fault::one_line;
use crate::limits;
use crate::model_file::examine;
use crate::{Backend, EngineFault, Options};
pub use wire::TrialReport;
use wire::{Answer, TrialJob};

/// A program that calls [`load_child`] with the arguments that come after these.
#[derive(Clone, Debug)]
pub struct TrialProcess {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub bounds: TrialBounds,
}

/// What loading one model may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrialBounds {
    /// Bytes of address space, beside so many times the model's own. A provider that maps a device's memory has no such bound.
    pub memory: u64,
    pub memory_per_byte: u64,
    /// In whole seconds, over all threads.
    pub processor_time: Duration,
    /// From start to end, however busy the machine is.
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

/// What the environment says of where libraries and devices are.
const PASSED_ON: [&str; 2] = ["LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES"];

impl TrialProcess {
    /// Has the process load this model as [`Backend::load`] would.
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
        let (answer, words) = (said(&running.answer).map_err(no_process)?, said(&running.words).map_err(no_process)?);
        match Answer::of(&answer) {
            Some(Answer::Fine(loaded)) => Ok(loaded),
            Some(Answer::Refused(why)) => Err(EngineFault::Refused(one_line(&why))),
            Some(Answer::OutOfMemory) => Err(EngineFault::TrialOutOfMemory { limit: job.memory.unwrap_or(u64::MAX) }),
            Some(Answer::Fault(why)) => Err(EngineFault::InTrial(one_line(&why))),
            None if !in_time => Err(EngineFault::TrialTooSlow { limit: self.bounds.time }),
            None => Err(self.died(&job, status, &words)),
        }
    }

    fn memory(&self, bytes: &[u8], options: &Options) -> Option<u64> {
        let TrialBounds { memory, memory_per_byte, .. } = self.bounds;
        options.provider.is_cpu().then(|| memory.saturating_add(memory_per_byte.saturating_mul(bytes.len() as u64)))
    }

    /// What to make of a process that ended without an answer.
    fn died(&self, job: &TrialJob, status: ExitStatus, words: &[u8]) -> EngineFault {
        let words = one_line(&String::from_utf8_lossy(words));
        let memory = job.memory.unwrap_or(u64::MAX);
        let no_memory = ["memory allocation of", "bad_alloc"].iter().any(|sign| words.contains(sign));
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

/// A process that does not outlive this value, and the files that it writes its answer and its last words to. They are
/// files and no pipes, so that neither side ever waits for the other to read.
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
        // In a group of its own: who stops a worker from its terminal does not mean the model.
        command.args(&trial.arguments).env_clear().current_dir("/").process_group(0);
        command.envs(PASSED_ON.iter().filter_map(|name| Some((*name, std::env::var_os(name)?))));
        command.arg(backend).args(job.arguments());
        command.stdin(input).stdout(answer.try_clone()?).stderr(words.try_clone()?);
        Ok(Self { process: command.spawn()?, answer, words })
    }

    /// Says whether the process ended by itself before the deadline.
    fn wait(&self, deadline: Instant) -> io::Result<bool> {
        let gone = || io::Error::other("its number is none");
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

    /// Ends the process, if it has not ended by itself; one that has keeps its own status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let killed = self.process.kill();
        // Waited for in any case, so that nothing is left of it.
        let status = self.process.wait();
        killed.and(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Ended already, in all likelihood.
        let _ = self.end();
    }
}

/// A file in memory that no other process can open by a name.
fn unnamed(what: &str) -> io::Result<File> {
    Ok(File::from(memfd_create(what, MemfdFlags::CLOEXEC)?))
}

fn said(mut file: &File) -> io::Result<Vec<u8>> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(limits::TRIAL_WORDS).read_to_end(&mut bytes)?;
    Ok(bytes)
}
