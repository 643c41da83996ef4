//! Points of several curves over one axis.

use crate::paper::curve::{Curve, Kind};
use crate::paper::figures::Figures;

/// Rounds of every point.
pub(super) const ROUNDS: usize = 3;

/// Curves with common points.
#[derive(Default)]
pub(super) struct Points {
    xs: Vec<f64>,
    /// Runs by curve and point.
    runs: Vec<Vec<Vec<f64>>>,
}

impl Points {
    /// Adds one run of the point at x, with one value per curve.
    pub(super) fn add(&mut self, x: f64, values: &[f64]) {
        let at = self.xs.iter().position(|other| *other == x).unwrap_or(self.xs.len());
        if at == self.xs.len() {
            self.xs.push(x);
        }
        self.runs.resize_with(values.len().max(self.runs.len()), Vec::new);
        for (runs, value) in self.runs.iter_mut().zip(values) {
            runs.resize_with(self.xs.len(), Vec::new);
            runs[at].push(*value);
        }
    }

    /// Adds the curves; each has a name, a kind and a unit.
    pub(super) fn curves(self, figures: &mut Figures, x: &'static str, curves: &[(&str, Kind, &'static str)]) {
        for (runs, (name, kind, y)) in self.runs.into_iter().zip(curves) {
            let points = self.xs.iter().copied().zip(runs);
            figures.add_curve(Curve::of(format!("growth.{name}"), *kind, [x, y], points));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternating_points_are_grouped_by_curve_and_x() {
        let mut points = Points::default();
        for run in [0.0, 1.0] {
            for x in [10.0, 20.0] {
                points.add(x, &[x + run, x * 100.0 + run]);
            }
        }
        assert_eq!(points.xs, [10.0, 20.0]);
        assert_eq!(points.runs[0], [[10.0, 11.0], [20.0, 21.0]]);
        assert_eq!(points.runs[1], [[1000.0, 1001.0], [2000.0, 2001.0]]);
        let mut figures = Figures::default();
        points.curves(&mut figures, "x", &[("flat", Kind::Cost, "y"), ("steep", Kind::Cost, "y")]);
        let names: Vec<_> = figures.curves.iter().map(|curve| &*curve.name).collect();
        assert_eq!(names, ["growth.flat", "growth.steep"]);
    }
}
