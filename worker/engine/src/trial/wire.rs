//! The protocol of the worker and the trial process: a job as arguments, and an answer of one line.

use std::time::Duration;

use crate::{Allow, Options, Provider, Sharing};

/// The options for loading the model on standard input, and the bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TrialJob {
    /// Bytes of address space.
    pub(super) memory: Option<u64>,
    pub(super) processor_time: Duration,
    pub(super) options: Options,
}

impl TrialJob {
    pub(super) fn arguments(&self) -> [String; 8] {
        let Self { memory, processor_time, options } = self;
        let Options { threads, time, arena, provider, sharing: _, together, allow } = options;
        [
            memory.map_or_else(|| "-".to_owned(), |memory| memory.to_string()),
            processor_time.as_secs().to_string(),
            threads.to_string(),
            time.as_millis().to_string(),
            arena.to_string(),
            provider.name().to_owned(),
            together.to_string(),
            format!("{} {}", allow.ort_format, allow.ep_context),
        ]
    }

    pub(super) fn read(arguments: &[String]) -> Option<Self> {
        let [memory, seconds, threads, time, arena, provider, together, allow] = arguments else { return None };
        let (ort_format, ep_context) = allow.split_once(' ')?;
        let allow = Allow { ort_format: ort_format.parse().ok()?, ep_context: ep_context.parse().ok()? };
        Some(Self {
            memory: if memory == "-" { None } else { Some(memory.parse().ok()?) },
            processor_time: Duration::from_secs(seconds.parse().ok()?),
            options: Options {
                threads: threads.parse().ok()?,
                time: Duration::from_millis(time.parse().ok()?),
                arena: arena.parse().ok()?,
                provider: Provider::of_name(provider)?,
                sharing: Sharing::One,
                together: together.parse().ok()?,
                allow,
            },
        })
    }
}

/// The facts about a model, loaded and run once on zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrialReport {
    /// Bytes of memory for one session, after one run.
    pub memory: u64,
}

/// The outcome of a job.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Fine(TrialReport),
    /// A message from ONNX Runtime.
    Refused(String),
    /// A message from the engine.
    Fault(String),
    OutOfMemory,
}

impl Answer {
    pub(super) fn line(&self) -> String {
        match self {
            Self::Fine(TrialReport { memory }) => format!("fine {memory}\n"),
            Self::Refused(why) => format!("refused {why}\n"),
            Self::Fault(why) => format!("fault {why}\n"),
            Self::OutOfMemory => "out of-memory\n".to_owned(),
        }
    }

    /// Reads a complete line.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        match line.split_once(' ')? {
            ("fine", memory) => Some(Self::Fine(TrialReport { memory: memory.parse().ok()? })),
            ("refused", why) => Some(Self::Refused(why.to_owned())),
            ("fault", why) => Some(Self::Fault(why.to_owned())),
            ("out", "of-memory") => Some(Self::OutOfMemory),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_arrives_as_it_was_sent() {
        for memory in [None, Some(7 << 30)] {
            let options = Options {
                threads: 3,
                time: Duration::from_millis(40),
                arena: false,
                provider: Provider::Cuda,
                sharing: Sharing::One,
                together: true,
                allow: Allow { ort_format: false, ep_context: true },
            };
            let job = TrialJob { memory, processor_time: Duration::from_secs(60), options };
            assert_eq!(TrialJob::read(&job.arguments()), Some(job));
        }
        assert_eq!(TrialJob::read(&["7".to_owned()]), None);
    }

    #[test]
    fn only_a_complete_line_is_an_answer() {
        for answer in [
            Answer::Fine(TrialReport { memory: 5 }),
            Answer::Refused("no such operator".into()),
            Answer::Fault("too many".into()),
            Answer::OutOfMemory,
        ] {
            let line = answer.line();
            assert_eq!(Answer::of(&line.as_bytes()[..line.len() - 1]), None);
            assert_eq!(Answer::of(line.as_bytes()), Some(answer));
        }
        assert_eq!(Answer::of(b""), None);
        assert_eq!(Answer::of(b"fine much\n"), None);
    }
}
