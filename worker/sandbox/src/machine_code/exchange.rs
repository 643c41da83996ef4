//! The exchange with the compiler process, until a deadline: the job in, the answer and the error output out.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;

use crate::limits;

/// The end of an exchange.
pub(super) enum ExchangeEnd {
    /// The process closed its output, usually by its exit.
    Hung,
    Deadline,
    TooMuch,
    Broken(io::Error),
}

/// Both directions at once, in one thread. Sequential transfers would deadlock if both sides write first.
pub(super) struct Exchange<'a> {
    input: Option<ChildStdin>,
    to_send: &'a [u8],
    output: ChildPipe<ChildStdout>,
    errors: ChildPipe<ChildStderr>,
}

impl<'a> Exchange<'a> {
    pub(super) fn with(child: &mut Child, to_send: &'a [u8]) -> io::Result<Self> {
        let missing = || io::Error::other("its pipes are missing");
        let input = child.stdin.take().ok_or_else(missing)?;
        without_waiting(&input)?;
        let output = ChildPipe::of(child.stdout.take().ok_or_else(missing)?)?;
        let errors = ChildPipe::of(child.stderr.take().ok_or_else(missing)?)?;
        Ok(Self { input: Some(input), to_send, output, errors })
    }

    /// Sends and receives until the output ends. Returns the output and the error output.
    pub(super) fn run(mut self, deadline: Instant, most: usize) -> (ExchangeEnd, Vec<u8>, Vec<u8>) {
        let ended = loop {
            match self.step(deadline) {
                Ok(()) if self.output.received.len() > most => break ExchangeEnd::TooMuch,
                Ok(()) if self.output.from.is_none() => break ExchangeEnd::Hung,
                Ok(()) if Instant::now() >= deadline => break ExchangeEnd::Deadline,
                Ok(()) => {}
                Err(fault) => break ExchangeEnd::Broken(fault),
            }
        };
        // The error output may still contain the last text before the exit.
        let _ = self.errors.read(limits::COMPILER_WORDS);
        (ended, self.output.received, self.errors.received)
    }

    /// Waits for a ready pipe, and then reads and writes.
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
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(fault) => Err(fault.into()),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(input) = &mut self.input {
            let sent = match input.write(self.to_send) {
                Ok(sent) => sent,
                Err(fault) if would_wait(&fault) => return Ok(()),
                // The process may answer before it has read all of its input.
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

/// One pipe from the process, with the received bytes.
struct ChildPipe<R> {
    /// `None` after the end of the pipe.
    from: Option<R>,
    received: Vec<u8>,
}

impl<R: Read + AsFd> ChildPipe<R> {
    fn of(from: R) -> io::Result<Self> {
        without_waiting(&from)?;
        Ok(Self { from: Some(from), received: Vec::new() })
    }

    /// Reads the available bytes. Bytes beyond `most` are dropped.
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
