//! One thing that was looked at, what was found, and what to do about it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// It could not be looked at.
    Unknown,
    Warning,
    /// A promise is broken, or will be when something else fails.
    Danger,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub check: &'static str,
    pub level: Level,
    pub what: String,
    /// Empty where there is nothing to do.
    pub todo: String,
}

/// A finding before it is known of which check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    pub level: Level,
    pub what: String,
    pub todo: String,
}

pub fn danger(what: impl Into<String>, todo: impl Into<String>) -> Remark {
    Remark { level: Level::Danger, what: what.into(), todo: todo.into() }
}

pub fn warning(what: impl Into<String>, todo: impl Into<String>) -> Remark {
    Remark { level: Level::Warning, what: what.into(), todo: todo.into() }
}

pub fn unknown(what: impl Into<String>, todo: impl Into<String>) -> Remark {
    Remark { level: Level::Unknown, what: what.into(), todo: todo.into() }
}
