//! A stage in another process: one process per call, a warm process behind pipes, or a program that measures its calls.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::machine::clock::Spent;
use crate::machine::process;

/// A slower program is killed.
const BOUND: Duration = Duration::from_secs(600);
const MAX_OUTPUT: usize = 64 << 20;

/// A child with pipes. It ends with its owner or after the bound.
struct Piped {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Cancels the watch on drop.
    _watch: mpsc::Sender<()>,
}

impl Piped {
    fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", program.display()))?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).context("a child without pipes")?;
        let (watch, called_off) = mpsc::channel::<()>();
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without a number")?;
        thread::spawn(move || {
            if called_off.recv_timeout(BOUND) == Err(mpsc::RecvTimeoutError::Timeout) {
                // The process may have ended already.
                let _ = kill_process(process, Signal::KILL);
            }
        });
        Ok(Self { child, input, output: BufReader::new(output), _watch: watch })
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that reads a number of calls. It prints microseconds of processor time and elapsed time per call, and the
/// checksum of the last output.
pub struct Script(Piped);

impl Script {
    pub fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Piped::start(program, arguments).map(Self)
    }

    pub fn calls(&mut self, calls: usize) -> anyhow::Result<(Spent, u32)> {
        writeln!(self.0.input, "{calls}")?;
        let mut line = String::new();
        self.0.output.read_line(&mut line)?;
        let parts: Vec<&str> = line.split_whitespace().collect();
        let [cpu, elapsed, sum] = parts[..] else { anyhow::bail!("it ended, or printed {line:?}") };
        let all = |micros: &str| anyhow::Ok(Duration::from_secs_f64(micros.parse::<f64>()? * calls as f64 / 1e6));
        Ok((Spent { cpu: all(cpu)?, elapsed: all(elapsed)? }, sum.parse()?))
    }
}

/// A process that answers each input with an output. Lengths precede both.
pub struct Warm {
    piped: Piped,
    room: Vec<u8>,
}

impl Warm {
    pub fn start(program: &Path, arguments: &[&str]) -> anyhow::Result<Self> {
        Ok(Self { piped: Piped::start(program, arguments)?, room: Vec::new() })
    }

    pub fn calls(&mut self, input: &[u8], calls: usize) -> anyhow::Result<(Spent, &[u8])> {
        let message = [&u32::try_from(input.len())?.to_le_bytes()[..], input].concat();
        let child = self.piped.child.id();
        let (before, started) = (process::fine_cpu(child)?, Spent::so_far());
        for _ in 0..calls {
            self.call(&message)?;
        }
        let ours = started.since();
        let theirs = process::fine_cpu(child)?.saturating_sub(before);
        Ok((Spent { cpu: ours.cpu + theirs, elapsed: ours.elapsed }, &self.room))
    }

    fn call(&mut self, message: &[u8]) -> anyhow::Result<()> {
        self.piped.input.write_all(message)?;
        let mut len = [0; 4];
        self.piped.output.read_exact(&mut len)?;
        let len = u32::from_le_bytes(len) as usize;
        ensure!(len <= MAX_OUTPUT, "an output of {len} bytes");
        self.room.resize(len, 0);
        Ok(self.piped.output.read_exact(&mut self.room)?)
    }
}

/// A process per call.
pub struct Once {
    program: PathBuf,
    function: &'static str,
}

impl Once {
    pub fn new(program: &Path, function: &'static str) -> Self {
        Self { program: program.to_owned(), function }
    }

    pub fn calls(&self, input: &[u8], calls: usize) -> anyhow::Result<(Spent, Vec<u8>)> {
        let (mut all, mut output) = (Spent::default(), Vec::new());
        for _ in 0..calls {
            output.clear();
            let spent = self.call(input, &mut output)?;
            all = Spent { cpu: all.cpu + spent.cpu, elapsed: all.elapsed + spent.elapsed };
        }
        Ok((all, output))
    }

    fn call(&self, input: &[u8], output: &mut Vec<u8>) -> anyhow::Result<Spent> {
        let started = Spent::so_far();
        let mut command = Command::new(&self.program);
        command.args([self.function, "once"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("{} cannot be started", self.program.display()))?;
        let (mut to, mut from) = child.stdin.take().zip(child.stdout.take()).context("a child without pipes")?;
        to.write_all(input)?;
        drop(to);
        answers(&mut child, &from)?;
        from.read_to_end(output)?;
        // The process is not reaped yet: its processor time is read first.
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child without a number")?;
        waitid(WaitId::Pid(process), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let ours = started.since();
        let theirs = process::fine_cpu(child.id())?;
        ensure!(child.wait()?.success(), "{} failed", self.program.display());
        Ok(Spent { cpu: ours.cpu + theirs, elapsed: ours.elapsed })
    }
}

/// Waits for output or the end of the child, and kills a child after the bound.
fn answers(child: &mut Child, from: &ChildStdout) -> anyhow::Result<()> {
    let bound = Timespec::try_from(BOUND)?;
    if poll(&mut [PollFd::new(from, PollFlags::IN)], Some(&bound))? == 0 {
        child.kill()?;
        child.wait()?;
        anyhow::bail!("a process gave no answer in time");
    }
    Ok(())
}
