//! A worker's health, readiness, status and metrics, asked over HTTP.

use crate::{Worker, http};

impl Worker {
    /// Status code and body of one GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        http::get(&self.admin, path).expect("the admin address answers")
    }

    /// The sum of the series whose line begins with `series`, for example `inferbus_swaps_total{model="digits"`.
    pub fn metric(&self, series: &str) -> f64 {
        let (code, text) = self.get("/metrics");
        assert_eq!(code, 200, "{text}");
        let lines = text.lines().filter(|line| line.starts_with(series));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}
