//! The trial process: it sets its own resource limits, loads the model on its input, and writes an answer.
//!
//! Guarantees: if a model crashes ONNX Runtime or exceeds a limit, the system ends this process and never the worker.

use std::ffi::{OsStr, c_void};
use std::io::{self, Write as _};
use std::process::ExitCode;

use rustix::fs::fstat;
use rustix::mm::{MapFlags, ProtFlags, mmap};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};

use super::wire::{Answer, TrialJob, TrialReport};
use crate::limits;
use crate::warm_up::first_run;
use crate::{Backend, EngineFault, ModelFault, Options, can_stack, give_back_memory};

/// The trial process with its arguments. Call it first in `main`: it must be the only thread.
/// It uses standard input and output.
pub fn load_child(arguments: impl Iterator<Item = String>) -> ExitCode {
    let answered = answer(&arguments.collect::<Vec<_>>()).and_then(|answer| {
        io::stdout().write_all(answer.line().as_bytes())?;
        io::stdout().flush()
    });
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // The parent may be gone.
            let _ = writeln!(io::stderr(), "{fault}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &[String]) -> io::Result<Answer> {
    let misuse = || io::Error::other("only `inferbus` itself may start this, to try a model");
    let (backend, job) = arguments.split_first().ok_or_else(misuse)?;
    let job = TrialJob::read(job).ok_or_else(misuse)?;
    confine(&job)?;
    let bytes = input()?;
    Ok(match load(backend.as_ref(), bytes, job) {
        Ok(loaded) => Answer::Fine(loaded),
        Err(EngineFault::Refused(why)) if is_out_of_memory(&why) => Answer::OutOfMemory,
        Err(EngineFault::TrialOutOfMemory { .. }) => Answer::OutOfMemory,
        Err(EngineFault::Refused(why)) => Answer::Refused(why),
        Err(fault) => Answer::Fault(fault.to_string()),
    })
}

/// Whether ONNX Runtime ran out of memory. The worker may have more, but must not spend it on this model.
fn is_out_of_memory(why: &str) -> bool {
    ["bad_alloc", "bad allocation", "Failed to allocate memory"].iter().any(|words| why.contains(words))
}

/// Drops all resources beyond the needs of loading one model.
fn confine(job: &TrialJob) -> io::Result<()> {
    // If the worker is gone, the answer is useless.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // If the machine runs out of memory, the kernel ends this process first. Not every system has the file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if let Some(memory) = job.memory {
        limit(Resource::As, memory, memory)?;
    }
    let seconds = job.processor_time.as_secs();
    // The soft limit's signal comes first and identifies the cause.
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, limits::TRIAL_WORDS, limits::TRIAL_WORDS)?;
    // Messages have priority.
    nice(limits::TRIAL_NICENESS)?;
    Ok(())
}

fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    // Only a privileged process may raise an earlier limit.
    let hardest = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let [current, maximum] = [current, maximum].map(|limit| Some(limit.min(hardest)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// Maps the model on standard input.
fn input() -> io::Result<&'static [u8]> {
    let input = io::stdin();
    let len = usize::try_from(fstat(&input)?.st_size).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: the mapping is new, private and never unmapped. The file belongs to the parent and is unnamed.
    // It is never written after the start of this process.
    let start: *mut c_void = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &input, 0)? };
    // SAFETY: as above; the mapping has the length of the file.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// Loads the model and runs it once, like a worker.
fn load(backend: &OsStr, bytes: &[u8], job: TrialJob) -> Result<TrialReport, EngineFault> {
    let backend = Backend::of_argument(backend)?;
    let before = own_memory();
    // The first run may take longer than later ones, on a busy machine and at a low priority.
    let time = job.options.time.max(limits::RUN_TIME);
    let network = backend.load(bytes, Options { time, ..job.options }, "")?;
    let mut session = network.session()?;
    match first_run(network.signature(), session.as_mut()) {
        Err(ModelFault::OutOfTime { limit }) => return Err(EngineFault::EndlessOnZeros { limit }),
        Err(ModelFault::Failed(why)) if is_out_of_memory(&why) => {
            return Err(EngineFault::TrialOutOfMemory { limit: job.memory.unwrap_or(u64::MAX) });
        }
        // The model may reject zeros.
        _ => {}
    }
    if job.options.together {
        // The worker decides whether it can. Here, the test only must not crash.
        let _ = can_stack(network.signature(), session.as_mut());
    }
    Ok(TrialReport { memory: own_memory().saturating_sub(before) })
}

/// Resident bytes of this process alone, after the allocator has released unused memory.
fn own_memory() -> u64 {
    give_back_memory();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default().saturating_mul(1024)
}
