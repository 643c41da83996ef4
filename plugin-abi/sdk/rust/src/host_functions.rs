//! The worker's functions for plugins, each with a grant in the entry: a log line and an extra message.

use crate::boundary;

/// The level of a log line, with the numbers of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    Error = 0,
    Warn = 1,
    Info = 2,
    Debug = 3,
    Trace = 4,
}

/// Writes a log line: `log!(Debug, "{} pixels", count)`. The worker adds the model, its version and the stage.
#[macro_export]
macro_rules! log {
    ($level:ident, $($text:tt)+) => {
        $crate::__private::log($crate::Level::$level, &::std::format!($($text)+))
    };
}

pub fn log(level: Level, text: &str) {
    boundary::log(level as u32, text);
}

/// Sends a message beside the result, under the route's output subject, if the whole message succeeds.
///
/// The topic is one or more tokens, separated by dots. The worker ends the call for a bad topic or too many messages.
pub fn emit(topic: &str, payload: impl AsRef<[u8]>) {
    let answer = boundary::emit(topic, payload.as_ref());
    // Other return values are reserved: a plugin must not continue after an unknown one.
    assert!(answer == 0, "the worker answered {answer} to an emit, unknown to this SDK: build with a newer SDK");
}
