//! The growth of a cost: points, and the exponent of the best-fitting power of x.

use inferbus_loadgen::report::chart::{self, Axis, Chart, Scale, Series};
use serde::Serialize;

use crate::paper::figure::Figure;

/// An exponent above this, over the upper half of the points, is worse than linear.
const LINEAR: f64 = 1.1;
/// The growth from the first to the last point required for the exponent of the added part.
const GROWN: f64 = 2.0;

/// The meaning of a curve's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Less is better.
    Cost,
    /// More is better.
    Gain,
}

#[derive(Debug, Serialize)]
struct Point {
    x: f64,
    /// The median of the runs.
    y: f64,
    min: f64,
    max: f64,
    runs: usize,
}

#[derive(Debug, Serialize)]
pub struct Curve {
    pub name: String,
    kind: Kind,
    x: &'static str,
    y: &'static str,
    points: Vec<Point>,
    /// Over all points, and over the upper half.
    exponent: Option<f64>,
    upper_exponent: Option<f64>,
    /// Of the upper half minus the first point, if that is the larger part. A constant part would hide the growth.
    added_exponent: Option<f64>,
}

impl Curve {
    /// Points in the order of x, each with the values of its runs.
    pub fn of(
        name: impl Into<String>,
        kind: Kind,
        [x, y]: [&'static str; 2],
        points: impl IntoIterator<Item = (f64, Vec<f64>)>,
    ) -> Self {
        let points: Vec<Point> = points
            .into_iter()
            .map(|(x, values)| {
                let figure = Figure::of("", "", values);
                Point { x, y: figure.value, min: figure.min, max: figure.max, runs: figure.runs }
            })
            .collect();
        let pairs: Vec<(f64, f64)> = points.iter().map(|point| (point.x, point.y)).collect();
        let upper = pairs.get(pairs.len() / 2..).unwrap_or_default();
        let first = pairs.first().map_or(0.0, |(_, y)| *y);
        let added: Vec<(f64, f64)> = upper.iter().map(|(x, y)| (*x, y - first)).collect();
        let has_grown = pairs.last().is_some_and(|(_, y)| *y >= GROWN * first);
        let added_exponent = if has_grown { exponent(&added) } else { None };
        let (all, upper) = (exponent(&pairs), exponent(upper));
        Self { name: name.into(), kind, x, y, exponent: all, upper_exponent: upper, added_exponent, points }
    }

    pub fn is_worse_than_linear(&self) -> bool {
        let exponents = [self.upper_exponent, self.added_exponent];
        self.kind == Kind::Cost && exponents.into_iter().flatten().any(|exponent| exponent > LINEAR)
    }

    /// The exponent over all points.
    pub fn figure(&self) -> Option<Figure> {
        let name = format!("{}.exponent", self.name);
        self.exponent.map(|exponent| Figure::of(&name, "best-fitting power of x", [exponent]))
    }

    /// The growth in a sentence.
    pub fn verdict(&self) -> String {
        let number = |exponent: Option<f64>| exponent.map_or("-".into(), |exponent| format!("{exponent:.2}"));
        let [all, upper, added] = [self.exponent, self.upper_exponent, self.added_exponent].map(number);
        let warning = if self.is_worse_than_linear() { ": WORSE THAN LINEAR" } else { "" };
        format!(
            "{} over {} grows with the power {all}, over the upper half {upper}, less the first point {added}{warning}",
            self.y, self.x
        )
    }

    pub fn print(&self) {
        println!("\n{}: {}", self.name, self.verdict());
        for Point { x, y, min, max, runs } in &self.points {
            println!("{x:14} {y:12.2} {min:12.2} {max:12.2} {runs:5}");
        }
    }

    pub fn chart(&self) -> Chart {
        let of = |value: fn(&Point) -> f64| self.points.iter().map(move |point| (point.x, value(point)));
        let series =
            [("least", of(|point| point.min)), ("median", of(|point| point.y)), ("most", of(|point| point.max))];
        Chart {
            title: self.name.clone(),
            x: Axis::new(self.x, Scale::Log, chart::count),
            y: Axis::new(self.y, Scale::Log, chart::count),
            series: series.into_iter().map(|(name, points)| Series::new(name, points)).collect(),
        }
    }
}

/// The slope of the least-squares line of log y over log x.
fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let usable = logs.len() > 1 && logs.iter().all(|(x, y)| x.is_finite() && y.is_finite());
    let count = logs.len() as f64;
    let (mean_x, mean_y) = logs.iter().fold((0.0, 0.0), |(xs, ys), (x, y)| (xs + x / count, ys + y / count));
    let across: f64 = logs.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let both: f64 = logs.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    (usable && across > 0.0).then(|| both / across)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(kind: Kind, y: impl Fn(f64) -> f64) -> Curve {
        let xs = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0];
        Curve::of("a", kind, ["messages", "µs"], xs.map(|x| (x, vec![1e9, y(x), 1e-9])))
    }

    #[test]
    fn powers_are_found_and_medians_are_fitted() {
        for power in [-1.0, 0.0, 0.5, 1.0, 2.0] {
            let found = curve(Kind::Cost, |x| 7.0 * x.powf(power)).exponent.unwrap();
            assert!((found - power).abs() < 1e-9, "{found} instead of {power}");
        }
    }

    #[test]
    fn only_costs_are_reported_and_by_their_upper_half() {
        let bends = |x: f64| if x < 8.0 { 8.0 } else { x * x / 8.0 };
        let bent = curve(Kind::Cost, bends);
        assert!((bent.upper_exponent.unwrap() - 2.0).abs() < 1e-9);
        assert!(bent.is_worse_than_linear() && bent.verdict().contains("WORSE"));
        assert!(!curve(Kind::Gain, bends).is_worse_than_linear());
        assert!(!curve(Kind::Cost, |x| x).is_worse_than_linear());
    }

    #[test]
    fn a_constant_part_does_not_hide_growth() {
        let hidden = curve(Kind::Cost, |x| 2000.0 + x * x);
        assert!(hidden.upper_exponent.unwrap() < 1.0 && !hidden.is_worse_than_linear(), "it has hardly grown");
        let seen = curve(Kind::Cost, |x| 900.0 + x * x);
        assert!(seen.upper_exponent.unwrap() < LINEAR && seen.added_exponent.unwrap() > 1.9);
        assert!(seen.is_worse_than_linear());
    }

    #[test]
    fn unfittable_points_lack_an_exponent() {
        assert_eq!(exponent(&[(1.0, 1.0)]), None);
        assert_eq!(exponent(&[(1.0, 1.0), (1.0, 2.0)]), None);
        assert_eq!(exponent(&[(1.0, 0.0), (2.0, 1.0)]), None);
    }
}
