//! The compiler process: one module in, its machine code out. It sets its resource limits first.
//!
//! Guarantees: the process reads standard input, writes standard output, and does nothing else. If a module exhausts
//! the compiler, the operating system ends this process and not the worker.

use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::thread;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit};
use wasmtime::{Engine, OutOfMemory};

use super::wire::{CompileAnswer, CompileJob};
use crate::limits;
use crate::settings::code_config;
use crate::text::host_text;

/// The main function of the compiler process. Call it first in `main`: it must be the only thread, and it uses standard
/// input and output.
pub fn compile_child() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            // The parent may have closed the pipe.
            let _ = writeln!(io::stderr(), "{fault}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    let mut input = io::stdin().lock();
    let job = CompileJob::read(&mut input)?;
    confine(&job)?;
    let mut wasm = vec![0; job.module];
    input.read_exact(&mut wasm)?;
    // A separate thread, so the stack for deep recursion does not depend on the parent process.
    let compiler = thread::Builder::new().stack_size(limits::COMPILE_STACK);
    let compiler = compiler.spawn(move || compile(&job, &wasm))?;
    let (answer, body) = compiler.join().map_err(|_| io::Error::other("the compiler panicked"))?;
    answer.write(&body, &mut io::stdout().lock())
}

/// Limits this process to the needs of one compilation.
fn confine(job: &CompileJob) -> io::Result<()> {
    // Makes this process the first victim of the OOM killer. The file does not exist on every system.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let limit = |resource, current: u64, maximum: u64| {
        // Only a privileged process could raise a hard limit.
        let hardest = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let [current, maximum] = [current, maximum].map(|limit| Some(limit.min(hardest)));
        setrlimit(resource, Rlimit { current, maximum })
    };
    limit(Resource::As, job.memory, job.memory)?;
    let seconds = job.processor_time.as_secs();
    // The soft limit comes first, so the signal identifies the cause.
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    // Without its worker the result is useless.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // Messages have priority.
    nice(limits::COMPILE_NICENESS)?;
    Ok(())
}

fn compile(job: &CompileJob, wasm: &[u8]) -> (CompileAnswer, Vec<u8>) {
    match precompile(false, wasm) {
        Ok(code) if code.len() > job.output => (CompileAnswer::TooLarge, Vec::new()),
        Ok(code) => (CompileAnswer::Code, code),
        Err(error) if error.is::<OutOfMemory>() => (CompileAnswer::OutOfMemory, Vec::new()),
        Err(error) => (CompileAnswer::Refused, host_text(&error).into_bytes()),
    }
}

/// Compiles with the code settings of every sandbox.
pub(super) fn precompile(parallel: bool, wasm: &[u8]) -> wasmtime::Result<Vec<u8>> {
    let mut config = code_config();
    config.parallel_compilation(parallel);
    Engine::new(&config)?.precompile_module(wasm)
}
