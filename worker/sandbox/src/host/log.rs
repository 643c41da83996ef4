//! The log lines of one call, kept until the call is over, within bounds.

use crate::bounds::Bounds;
use crate::text::printable;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The contract's numbers. What lies beyond them counts as the least important.
    pub(crate) fn from_number(level: u32) -> Self {
        match level {
            0 => Self::Error,
            1 => Self::Warn,
            2 => Self::Info,
            3 => Self::Debug,
            _ => Self::Trace,
        }
    }
}

/// One line that a plugin wrote: valid UTF-8, no control characters, bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    pub level: LogLevel,
    pub text: &'a str,
}

/// A flood is cut off and counted, never a fault: a talkative plugin still does its work.
#[derive(Debug, Default)]
pub(crate) struct LogBuffer {
    lines: Vec<(LogLevel, String)>,
    bytes: usize,
    dropped: u64,
}

impl LogBuffer {
    pub(crate) fn push(&mut self, level: LogLevel, text: &[u8], bounds: &Bounds) {
        let room = bounds.log_bytes.saturating_sub(self.bytes);
        if self.lines.len() >= bounds.log_lines as usize || room == 0 {
            self.dropped += 1;
            return;
        }
        let text = printable(text, room);
        self.bytes += text.len().max(1);
        self.lines.push((level, text));
    }

    /// Closes the buffer: the count of what was dropped becomes its last line.
    pub(crate) fn into_lines(mut self) -> Vec<(LogLevel, String)> {
        if self.dropped > 0 {
            self.lines.push((LogLevel::Warn, format!("{} more log lines of this call were dropped", self.dropped)));
        }
        self.lines
    }
}

pub(crate) fn as_log_lines(lines: &[(LogLevel, String)]) -> impl Iterator<Item = LogLine<'_>> {
    lines.iter().map(|(level, text)| LogLine { level: *level, text })
}
