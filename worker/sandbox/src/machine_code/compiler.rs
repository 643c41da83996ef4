//! The parent's side of compiling: starts the compiler process, feeds it, reads it, bounds it and ends it.
//!
//! Promises: whatever a module does to the compiler, and whatever program stands in for it, the caller has machine code or a
//! fault within [`CompileBounds::time`], and the process is not left behind.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

use super::MachineCode;
use super::child::precompile;
use super::compile_bounds::CompileBounds;
use super::wire::{ANSWER_HEADER, CompileAnswer, CompileJob};
use crate::limits;
use crate::load::load_fault::LoadFault;
use crate::text::{host_text, printable};

/// What turns modules into machine code.
#[derive(Clone, Debug, Default)]
pub enum Compiler {
    /// This process, without bounds on the compiler: for tests and for modules that can be trusted.
    #[default]
    InProcess,
    /// A process for each module.
    Child(ChildProcess),
}

/// A program that calls [`compile_child`](crate::compile_child). What it answers runs in this process, so it must be as
/// trusted as this process is.
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
            ExchangeEnd::Broken(fault) => {
                Err(LoadFault::CompilerBroken { why: format!("could not be heard: {fault}") })
            }
            ExchangeEnd::Hung => self.verdict(answer, &words, status),
        }
    }

    fn start(&self) -> io::Result<RunningChild> {
        let mut command = Command::new(&self.program);
        // In a group of its own: who stops a worker from its terminal does not mean the module.
        command.args(&self.arguments).env_clear().current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map(RunningChild)
    }

    /// What to make of a process that has nothing more to say.
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
            // How a Rust program ends that gets no memory.
            (Some(signal), _) if signal == Signal::ABORT.as_raw() && words.starts_with("memory allocation of") => {
                LoadFault::CompilerOutOfMemory { limit: self.bounds.memory }
            }
            (Some(signal), _) => LoadFault::CompilerKilled { signal, words },
            (None, Ok(status)) => LoadFault::CompilerBroken { why: format!("ended with {status} and said: {words}") },
            (None, Err(fault)) => LoadFault::CompilerBroken { why: format!("could not be waited for: {fault}") },
        }
    }
}

/// A process that does not outlive this value.
struct RunningChild(Child);

impl RunningChild {
    /// Ends the process, if it has not ended by itself, and says how it ended. One that was already on its way out keeps its
    /// own status.
    fn end(&mut self) -> io::Result<ExitStatus> {
        let killed = self.0.kill();
        // Waited for in any case, so that nothing is left of it.
        let status = self.0.wait();
        killed.and(status)
    }
}

impl Drop for RunningChild {
    fn drop(&mut self) {
        // ExchangeEnd already, in all likelihood.
        let _ = self.end();
    }
}

/// How a talk ended.
enum ExchangeEnd {
    /// The process closed its output, most likely by its own end.
    Hung,
    Deadline,
    TooMuch,
    Broken(io::Error),
}

/// Both directions at once, in one thread: whoever writes first must not wait for a reader that itself writes.
struct Exchange<'a> {
    input: Option<ChildStdin>,
    to_send: &'a [u8],
    output: ChildPipe<std::process::ChildStdout>,
    errors: ChildPipe<std::process::ChildStderr>,
}

impl<'a> Exchange<'a> {
    fn with(child: &mut Child, to_send: &'a [u8]) -> io::Result<Self> {
        let missing = || io::Error::other("its pipes are missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        without_waiting(&input)?;
        let output = ChildPipe::of(child.stdout.take().ok_or_else(missing)?)?;
        let errors = ChildPipe::of(child.stderr.take().ok_or_else(missing)?)?;
        Ok(Self { input: Some(input), to_send, output, errors })
    }

    /// Talks until the process has nothing more to say. Gives what it said on its output and on its error output.
    fn run(mut self, deadline: Instant, most: usize) -> (ExchangeEnd, Vec<u8>, Vec<u8>) {
        let ended = loop {
            match self.step(deadline) {
                Ok(()) if self.output.received.len() > most => break ExchangeEnd::TooMuch,
                Ok(()) if self.output.from.is_none() => break ExchangeEnd::Hung,
                Ok(()) if Instant::now() >= deadline => break ExchangeEnd::Deadline,
                Ok(()) => {}
                Err(fault) => break ExchangeEnd::Broken(fault),
            }
        };
        // The last words were said before the output was closed.
        let _ = self.errors.read(limits::COMPILER_WORDS);
        (ended, self.output.received, self.errors.received)
    }

    /// Waits until there is something to do, and does it.
    fn step(&mut self, deadline: Instant) -> io::Result<()> {
        self.wait(deadline)?;
        self.send()?;
        self.output.read(usize::MAX)?;
        self.errors.read(limits::COMPILER_WORDS)
    }

    fn wait(&self, deadline: Instant) -> io::Result<()> {
        let mut waits = Vec::with_capacity(3);
        waits.extend(self.input.as_ref().map(|input| PollFd::new(input, PollFlags::OUT)));
        waits.extend(self.output.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN)));
        waits.extend(self.errors.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN)));
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut waits, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(input) = &mut self.input {
            let sent = match input.write(self.to_send) {
                Ok(sent) => sent,
                Err(fault) if would_wait(&fault) => return Ok(()),
                // Who does not listen to the end may still have an answer.
                Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => self.to_send.len(),
                Err(fault) => return Err(fault),
            };
            self.to_send = self.to_send.get(sent..).unwrap_or_default();
            if self.to_send.is_empty() {
                self.input = None;
            }
        }
        Ok(())
    }
}

/// One pipe from the process, and what has come through it.
struct ChildPipe<R> {
    /// `None` after its end.
    from: Option<R>,
    received: Vec<u8>,
}

impl<R: Read + AsFd> ChildPipe<R> {
    fn of(from: R) -> io::Result<Self> {
        without_waiting(&from)?;
        Ok(Self { from: Some(from), received: Vec::new() })
    }

    /// Takes what is there; of more than `most` bytes, the rest is read and forgotten.
    fn read(&mut self, most: usize) -> io::Result<()> {
        let mut room = [0; limits::COMPILER_READ];
        let Some(from) = &mut self.from else {
            return Ok(());
        };
        match from.read(&mut room) {
            Ok(0) => self.from = None,
            Ok(read) => {
                let read = read.min(most.saturating_sub(self.received.len()));
                self.received.extend_from_slice(room.get(..read).unwrap_or_default());
            }
            Err(fault) if would_wait(&fault) => {}
            Err(fault) => return Err(fault),
        }
        Ok(())
    }
}

fn would_wait(fault: &io::Error) -> bool {
    matches!(fault.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn without_waiting(pipe: &impl AsFd) -> io::Result<()> {
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    Ok(())
}
