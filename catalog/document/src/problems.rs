//! The list of all problems in a document, each with the path of its value.

use std::cell::{Cell, RefCell};
use std::fmt;

use crate::limits;

/// One problem. An empty path refers to the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub path: String,
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.what) } else { write!(f, "{}: {}", self.path, self.what) }
    }
}

/// All problems of one document. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    listed: Vec<Problem>,
    unlisted: usize,
}

impl Problems {
    /// A single problem of the whole document.
    pub fn whole(what: impl Into<String>) -> Self {
        Self { listed: vec![Problem { path: String::new(), what: what.into() }], unlisted: 0 }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.listed.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.listed.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        if self.unlisted > 0 {
            write!(f, "; and {} more", self.unlisted)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects problems during parsing.
#[derive(Default)]
pub(crate) struct Report {
    listed: RefCell<Vec<Problem>>,
    unlisted: Cell<usize>,
}

impl Report {
    pub(crate) fn add(&self, path: &str, what: impl Into<String>) {
        let mut listed = self.listed.borrow_mut();
        if listed.len() < limits::PROBLEMS {
            listed.push(Problem { path: path.to_owned(), what: what.into() });
        } else {
            self.unlisted.set(self.unlisted.get() + 1);
        }
    }

    /// The value, if no problem was reported.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        let problems = Problems { listed: self.listed.into_inner(), unlisted: self.unlisted.get() };
        match value {
            Some(value) if problems.listed.is_empty() => Ok(value),
            _ if problems.listed.is_empty() => Err(Problems::whole("the document is incomplete")),
            _ => Err(problems),
        }
    }
}
