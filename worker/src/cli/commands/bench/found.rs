//! The runs of a load test.

use inferbus_loadgen::report::html::Row;

/// The measured runs.
pub struct Found {
    pub rows: Vec<Row>,
    /// Of a sweep: the highest sustained rate, if any.
    pub knee: Option<Option<f64>>,
}
