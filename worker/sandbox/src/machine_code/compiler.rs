//! The parent's side of a compilation: starts the compiler process, judges its answer, and ends it.
//!
//! Guarantees: the caller gets machine code or a fault within [`CompileBounds::time`], for any module and any program
//! in place of the compiler. The process never outlives the call.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::MachineCode;
use super::child::precompile;
use super::compile_bounds::CompileBounds;
use super::exchange::{Exchange, ExchangeEnd};
use super::wire::{ANSWER_HEADER, CompileAnswer, CompileJob};
use crate::limits;
use crate::load::load_fault::LoadFault;
use crate::text::{host_text, printable};

/// The place of compilations.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// This process, without bounds on the compiler. For tests and trusted modules only.
    #[default]
    InProcess,
    /// A separate process for each module.
    Child(ChildProcess),
}

/// A program with a call of [`compile_child`](crate::compile_child). Its output runs in this process, so it needs the
/// same trust as this process.
#[derive(Clone, Debug)]
pub struct ChildProcess {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub bounds: CompileBounds,
}

impl Compiler {
    pub(crate) fn compile(&self, wasm: &[u8]) -> Result<MachineCode, LoadFault> {
        match self {
            Self::InProcess => {
                let bytes = precompile(true, wasm);
                let bytes = bytes.map_err(|error| LoadFault::Compile(host_text(&error)))?;
                Ok(MachineCode { bytes, header: 0 })
            }
            Self::Child(child) => child.compile(wasm),
        }
    }
}

impl ChildProcess {
    fn compile(&self, wasm: &[u8]) -> Result<MachineCode, LoadFault> {
        let deadline = Instant::now() + self.bounds.time;
        let job = CompileJob::new(&self.bounds, wasm.len());
        let to_send = [&job.to_bytes()[..], wasm].concat();
        let no_compiler = |fault: io::Error| LoadFault::NoCompiler { why: fault.to_string() };
        let mut running = self.start().map_err(no_compiler)?;
        let exchange = Exchange::with(&mut running.0, &to_send).map_err(no_compiler)?;
        let (ended, answer, words) = exchange.run(deadline, ANSWER_HEADER.saturating_add(self.bounds.output));
        let status = running.end();
        match ended {
            ExchangeEnd::Deadline => Err(LoadFault::CompilerTooSlow { limit: self.bounds.time }),
            ExchangeEnd::TooMuch => Err(LoadFault::CompiledTooLarge { limit: self.bounds.output }),
            ExchangeEnd::Broken(fault) => Err(LoadFault::CompilerBroken { why: format!("could not be read: {fault}") }),
            ExchangeEnd::Hung => self.verdict(answer, &words, status),
        }
    }

    fn start(&self) -> io::Result<RunningChild> {
        let mut command = Command::new(&self.program);
        // A separate process group: a signal from the terminal is for the worker, and must not look like a module
        // fault.
        command.args(&self.arguments).env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map(RunningChild)
    }

    /// Judges the complete output of the process.
    fn verdict(&self, bytes: Vec<u8>, words: &[u8], status: io::Result<ExitStatus>) -> Result<MachineCode, LoadFault> {
        match CompileAnswer::of(&bytes) {
            Some(CompileAnswer::Code) => Ok(MachineCode { bytes, header: ANSWER_HEADER }),
            Some(CompileAnswer::Refused) => {
                let why = bytes.get(ANSWER_HEADER..).unwrap_or_default();
                Err(LoadFault::Compile(printable(why, limits::QUOTED_BYTES)))
            }
            Some(CompileAnswer::OutOfMemory) => Err(LoadFault::CompilerOutOfMemory { limit: self.bounds.memory }),
            Some(CompileAnswer::TooLarge) => Err(LoadFault::CompiledTooLarge { limit: self.bounds.output }),
            None => Err(self.no_answer(words, status)),
        }
    }

    fn no_answer(&self, words: &[u8], status: io::Result<ExitStatus>) -> LoadFault {
        let words = printable(words.trim_ascii(), limits::QUOTED_BYTES);
        let signal = status.as_ref().ok().and_then(|status| status.signal());
        match (signal, status) {
            (Some(signal), _) if signal == Signal::XCPU.as_raw() => {
                LoadFault::CompilerOutOfTime { limit: self.bounds.processor_time }
            }
            // A Rust program aborts with this text after a failed allocation.
            (Some(signal), _) if signal == Signal::ABORT.as_raw() && words.starts_with("memory allocation of") => {
                LoadFault::CompilerOutOfMemory { limit: self.bounds.memory }
            }
            (Some(signal), _) => LoadFault::CompilerKilled { signal, words },
            (None, Ok(status)) => LoadFault::CompilerBroken { why: format!("ended with {status} and said: {words}") },
            (None, Err(fault)) => LoadFault::CompilerBroken { why: format!("could not be waited for: {fault}") },
        }
    }
}

/// A process, killed at the end of this value.
struct RunningChild(Child);

impl RunningChild {
    /// Kills the process unless it has ended, and returns its status. A process during its exit keeps its status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let killed = self.0.kill();
        // Always waits, to leave no zombie.
        let status = self.0.wait();
        killed.and(status)
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        // Usually it has ended already.
        let _ = self.end();
    }
}
