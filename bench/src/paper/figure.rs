//! A figure: the median of some runs, with its range.

use serde::Serialize;

use crate::paper::goals::Goal;

#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: String,
    /// The median of the runs.
    pub value: f64,
    pub unit: String,
    pub runs: usize,
    pub min: f64,
    pub max: f64,
    /// The reference of a ratio.
    pub ratio_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

impl Figure {
    pub fn of(name: &str, unit: &str, values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |at: usize| values.get(at).copied().unwrap_or(f64::NAN);
        Self {
            name: name.into(),
            value: at(values.len() / 2),
            unit: unit.into(),
            runs: values.len(),
            min: at(0),
            max: at(values.len().saturating_sub(1)),
            ratio_to: unit.strip_prefix("× ").map(Into::into),
            goal: Goal::of(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_the_median_of_its_runs_with_minimum_and_maximum() {
        let figure = Figure::of("a", "× b", [9.0, 2.0, 1.0, 7.0, 3.0]);
        assert_eq!((figure.value, figure.min, figure.max, figure.runs), (3.0, 1.0, 9.0, 5));
        assert_eq!(figure.ratio_to.as_deref(), Some("b"));
        let none = Figure::of("a", "ms", []);
        assert!(
            none.value.is_nan() && none.min.is_nan() && none.max.is_nan() && none.runs == 0 && none.ratio_to.is_none()
        );
    }
}
