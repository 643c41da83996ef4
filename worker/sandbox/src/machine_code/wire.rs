//! The protocol between a worker and its compiler process: a job of fixed size and the module in one direction, an
//! answer in the other.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::compile_bounds::CompileBounds;
use crate::limits;

/// Detects a start by mistake. Both ends are the same executable, so a version is unnecessary.
const MAGIC: [u8; 8] = *b"ibcompil";
const WORDS: usize = 5;
pub(super) const JOB_BYTES: usize = WORDS * 8;
/// The header of an answer: the kind and the length of its body.
pub(super) const ANSWER_HEADER: usize = 1 + 8;

/// The task of the compiler process, and its limits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CompileJob {
    pub(super) memory: u64,
    pub(super) processor_time: Duration,
    pub(super) output: usize,
    /// Bytes of the following module.
    pub(super) module: usize,
}

impl CompileJob {
    pub(super) fn new(bounds: &CompileBounds, module: usize) -> Self {
        let CompileBounds { memory, processor_time, output, time: _ } = *bounds;
        Self { memory, processor_time, output, module }
    }

    pub(super) fn to_bytes(&self) -> [u8; JOB_BYTES] {
        let Self { memory, processor_time, output, module } = *self;
        let numbers = [memory, processor_time.as_secs(), output as u64, module as u64];
        let words = [MAGIC].into_iter().chain(numbers.map(u64::to_le_bytes));
        let mut bytes = [0; JOB_BYTES];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word);
        }
        bytes
    }

    pub(super) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut words = [[0; 8]; WORDS];
        for word in &mut words {
            from.read_exact(word)?;
        }
        let [magic, memory, seconds, output, module] = words;
        let size = |word| usize::try_from(u64::from_le_bytes(word)).map_err(io::Error::other);
        let job = Self {
            memory: u64::from_le_bytes(memory),
            processor_time: Duration::from_secs(u64::from_le_bytes(seconds)),
            output: size(output)?,
            module: size(module)?,
        };
        if magic != MAGIC || job.module > 2 * limits::MODULE_BYTES {
            return Err(io::Error::other("internal command: `inferbus` starts it to compile a plugin"));
        }
        Ok(job)
    }
}

/// The result of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompileAnswer {
    /// The body is machine code.
    Code = 1,
    /// The body is the reason for the failed compilation.
    Refused = 2,
    OutOfMemory = 3,
    TooLarge = 4,
}

impl CompileAnswer {
    pub(super) fn write(self, body: &[u8], to: &mut impl Write) -> io::Result<()> {
        to.write_all(&[self as u8])?;
        to.write_all(&(body.len() as u64).to_le_bytes())?;
        to.write_all(body)?;
        to.flush()
    }

    /// The kind of this answer. `None` if the answer is not complete and exact.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let (header, body) = bytes.split_first_chunk::<ANSWER_HEADER>()?;
        let [kind, len @ ..] = *header;
        let known = [Self::Code, Self::Refused, Self::OutOfMemory, Self::TooLarge];
        let whole = u64::from_le_bytes(len) == body.len() as u64;
        known.into_iter().find(|answer| whole && *answer as u8 == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_a_round_trip() {
        let job = CompileJob {
            memory: 7 << 30,
            processor_time: Duration::from_secs(60),
            output: 5,
            module: limits::MODULE_BYTES,
        };
        assert_eq!(CompileJob::read(&mut &job.to_bytes()[..]).unwrap(), job);
    }

    #[test]
    fn invalid_jobs_are_rejected() {
        let job = CompileJob::new(&CompileBounds::default(), 1);
        let mut other = job.to_bytes();
        other[0] ^= 1;
        assert!(CompileJob::read(&mut &other[..]).is_err());
        assert!(CompileJob::read(&mut &job.to_bytes()[..JOB_BYTES - 1]).is_err());
        let huge = CompileJob::new(&CompileBounds::default(), 2 * limits::MODULE_BYTES + 1);
        assert!(CompileJob::read(&mut &huge.to_bytes()[..]).is_err());
    }

    #[test]
    fn only_complete_answers_are_accepted() {
        let mut bytes = Vec::new();
        CompileAnswer::Refused.write(b"no", &mut bytes).unwrap();
        assert_eq!(CompileAnswer::of(&bytes), Some(CompileAnswer::Refused));
        assert_eq!(CompileAnswer::of(&bytes[..bytes.len() - 1]), None);
        assert_eq!(CompileAnswer::of(&[&bytes[..], b"!"].concat()), None);
        assert_eq!(CompileAnswer::of(b""), None);
        bytes[0] = 9;
        assert_eq!(CompileAnswer::of(&bytes), None);
    }
}
