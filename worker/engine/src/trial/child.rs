//! The trial process: loads the model on its input within limits that it first puts on itself, and says what came of it.
//!
//! Promises: whatever a model makes of ONNX Runtime, the operating system ends this process and not the worker.

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

/// The whole of the trial process, with its arguments. Call it first thing in `main`: it wants no other threads, and takes
/// over standard input and output.
pub fn load_child(arguments: impl Iterator<Item = String>) -> ExitCode {
    let answered = answer(&arguments.collect::<Vec<_>>()).and_then(|answer| {
        io::stdout().write_all(answer.line().as_bytes())?;
        io::stdout().flush()
    });
    match answered {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // A parent that went away wants to hear nothing.
            let _ = writeln!(io::stderr(), "{fault}");
            ExitCode::FAILURE
        }
    }
}

fn answer(arguments: &[String]) -> io::Result<Answer> {
    let stranger = || io::Error::other("this is started by `inferbus` itself, to try a model");
    let (backend, job) = arguments.split_first().ok_or_else(stranger)?;
    let job = TrialJob::read(job).ok_or_else(stranger)?;
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

/// What ONNX Runtime says where it is refused memory: the process that serves may have more, and must not spend it.
fn is_out_of_memory(why: &str) -> bool {
    ["bad_alloc", "bad allocation", "Failed to allocate memory"].iter().any(|words| why.contains(words))
}

/// Gives up what loading one model does not need.
fn confine(job: &TrialJob) -> io::Result<()> {
    // Nobody waits for the answer of a worker that is gone.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Where memory runs out altogether, this process is the one to end. Not every system has the file.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    if let Some(memory) = job.memory {
        limit(Resource::As, memory, memory)?;
    }
    let seconds = job.processor_time.as_secs();
    // The softer signal comes first, so that its number tells what happened.
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, limits::TRIAL_WORDS, limits::TRIAL_WORDS)?;
    // Messages go first.
    nice(limits::TRIAL_NICENESS)?;
    Ok(())
}

fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    // Only a privileged process could raise what was set before.
    let hardest = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let [current, maximum] = [current, maximum].map(|limit| Some(limit.min(hardest)));
    Ok(setrlimit(resource, Rlimit { current, maximum })?)
}

/// The model on standard input, where it lies.
fn input() -> io::Result<&'static [u8]> {
    let input = io::stdin();
    let len = usize::try_from(fstat(&input)?.st_size).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: the mapping is new, private and never unmapped. The file is the parent's own and has no name; it is written
    // before this process starts and never again.
    let start: *mut c_void = unsafe { mmap(std::ptr::null_mut(), len, ProtFlags::READ, MapFlags::PRIVATE, &input, 0)? };
    // SAFETY: as above; the mapping is as long as the file.
    Ok(unsafe { std::slice::from_raw_parts(start.cast::<u8>(), len) })
}

/// What a worker does with a model, once.
fn load(backend: &OsStr, bytes: &[u8], job: TrialJob) -> Result<TrialReport, EngineFault> {
    let backend = Backend::of_argument(backend)?;
    let before = own_memory();
    // A first run, on a busy machine and behind everybody else, may take longer than those that follow.
    let time = job.options.time.max(limits::RUN_TIME);
    let network = backend.load(bytes, Options { time, ..job.options }, "")?;
    let mut session = network.session()?;
    match first_run(network.signature(), session.as_mut()) {
        Err(ModelFault::OutOfTime { limit }) => return Err(EngineFault::EndlessOnZeros { limit }),
        Err(ModelFault::Failed(why)) if is_out_of_memory(&why) => {
            return Err(EngineFault::TrialOutOfMemory { limit: job.memory.unwrap_or(u64::MAX) });
        }
        // Zeros may be nothing that the model takes.
        _ => {}
    }
    if job.options.together {
        // Whether it can is for the worker to say; here it only has to survive the question.
        let _ = can_stack(network.signature(), session.as_mut());
    }
    Ok(TrialReport { memory: own_memory().saturating_sub(before) })
}

/// Bytes resident that no other process has, once the allocator has given back what nobody uses.
fn own_memory() -> u64 {
    give_back_memory();
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default().saturating_mul(1024)
}
