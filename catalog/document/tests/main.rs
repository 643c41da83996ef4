//! The documents of the catalog: accepted forms, named problems, and properties of every document.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod documents;
mod properties;
mod support;
