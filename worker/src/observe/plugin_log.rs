//! Plugin log lines in the worker's log.
//!
//! Guarantees: every line names its model, version and step. The rate is bounded, so a plugin cannot fill the disk.
//! Suppressed lines are counted, and their number is logged once per second.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use inferbus_pipeline::Identity;
use inferbus_sandbox::{LogLevel, LogLine};

/// The most lines of one bundle per second.
const LINES_PER_SECOND: u64 = 100;

/// Counts lines per second: the upper bits hold the second, the lower bits its lines.
#[derive(Debug, Default)]
pub struct LogGate(AtomicU64);

const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;

enum Admission {
    Write,
    Suppress,
    /// The first line of a new second, with the number of lines suppressed in the last one.
    WriteAfter(u64),
}

impl LogGate {
    fn admit(&self, second: u64) -> Admission {
        let previous = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
            let same = state >> COUNT_BITS == second;
            Some(if same { (state & !COUNT) | ((state & COUNT) + 1).min(COUNT) } else { (second << COUNT_BITS) | 1 })
        });
        let (Ok(state) | Err(state)) = previous;
        let lines = state & COUNT;
        if state >> COUNT_BITS == second {
            return if lines < LINES_PER_SECOND { Admission::Write } else { Admission::Suppress };
        }
        match lines.saturating_sub(LINES_PER_SECOND) {
            0 => Admission::Write,
            suppressed => Admission::WriteAfter(suppressed),
        }
    }

    pub fn write(&self, identity: &Identity, step: &'static str, line: &LogLine<'_>) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match self.admit(second) {
            Admission::Suppress => return,
            Admission::Write => {}
            Admission::WriteAfter(suppressed) => {
                let Identity { model, version, .. } = identity;
                tracing::warn!(%model, %version, suppressed, "log lines of a plugin were suppressed");
            }
        }
        write_line(identity, step, line);
    }
}

fn write_line(identity: &Identity, step: &'static str, line: &LogLine<'_>) {
    let Identity { model, version, .. } = identity;
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(target: "inferbus::plugin", %model, %version, step, "{}", line.text)
        };
    }
    match line.level {
        LogLevel::Error => line!(error),
        LogLevel::Warn => line!(warn),
        LogLevel::Info => line!(info),
        LogLevel::Debug => line!(debug),
        LogLevel::Trace => line!(trace),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suppressed_lines_are_reported_in_the_next_second() {
        let gate = LogGate::default();
        let written = (0..150).filter(|_| matches!(gate.admit(7), Admission::Write)).count() as u64;
        assert_eq!(written, LINES_PER_SECOND);
        assert!(matches!(gate.admit(8), Admission::WriteAfter(50)));
        assert!(matches!(gate.admit(8), Admission::Write));
    }
}
