//! The results: figures, goals, curves and the HTML report.

pub mod curve;
pub mod figure;
pub mod figures;
pub mod goals;
pub mod report;
pub mod setting;
