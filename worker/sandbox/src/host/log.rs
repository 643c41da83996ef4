//! The log lines of one call, within bounds, kept until its end.

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
    /// Maps the numbers of the ABI. Unknown numbers count as the lowest level.
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

/// One log line of a plugin: valid UTF-8, without control characters, bounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    pub level: LogLevel,
    pub text: &'a str,
}

/// Excess lines are dropped and counted. They are not a fault, so a verbose plugin still works.
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

    /// Returns the lines, with the number of dropped lines as the last one.
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
