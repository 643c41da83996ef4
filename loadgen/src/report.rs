//! The outcome of runs, and its HTML page.

pub mod chart;
pub mod html;
pub mod outcome;
pub mod page;
