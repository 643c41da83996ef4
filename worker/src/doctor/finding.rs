//! The result of one check: a level, a message and a remedy.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// The facts were not readable.
    Unknown,
    Warning,
    /// A guarantee is broken, or breaks with the next failure.
    Danger,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub message: String,
    /// Empty at level `ok`.
    pub remedy: String,
}

/// A finding without the name of its check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub level: Level,
    pub message: String,
    pub remedy: String,
}

pub fn danger(message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { level: Level::Danger, message: message.into(), remedy: remedy.into() }
}

pub fn warning(message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { level: Level::Warning, message: message.into(), remedy: remedy.into() }
}

pub fn unknown(message: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { level: Level::Unknown, message: message.into(), remedy: remedy.into() }
}
