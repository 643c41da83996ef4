//! What a plugin may ask of its worker, where its entry grants it: a log line and an extra message.

use crate::boundary;

/// How much a log line matters. Under these numbers it crosses to the worker.
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
/// The topic is one or more tokens between dots. The worker ends the call if it is not, or if there are too many messages.
pub fn emit(topic: &str, payload: impl AsRef<[u8]>) {
    let answer = boundary::emit(topic, payload.as_ref());
    // Other answers are reserved, so a plugin that goes on after one would not know what it did.
    assert!(
        answer == 0,
        "the worker answered {answer} to an emit, which this SDK does not know: build with a newer one"
    );
}
