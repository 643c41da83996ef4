//! The figures: printed for people, written for programs.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::curve::Curve;
use crate::goals::Goal;

#[derive(Debug, Serialize)]
pub struct Figure {
    pub name: String,
    /// The median of the runs.
    pub value: f64,
    pub unit: String,
    pub runs: usize,
    pub min: f64,
    pub max: f64,
    /// What it is a ratio to.
    pub ratio_to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub figures: Vec<Figure>,
    /// What was not measured, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
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

impl Figures {
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Its exponent is a figure, too.
    pub fn add_curve(&mut self, curve: Curve) {
        self.figures.extend(curve.figure());
        self.curves.push(curve);
    }

    pub fn print(&self) {
        println!("{:34} {:>10} {:>10} {:>10} {:>5}  unit", "figure", "median", "min", "max", "runs");
        for Figure { name, value, unit, runs, min, max, .. } in &self.figures {
            println!("{name:34} {value:10.2} {min:10.2} {max:10.2} {runs:5}  {unit}");
        }
        self.notes.iter().for_each(|note| println!("note: {note}"));
        self.curves.iter().for_each(Curve::print);
    }

    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        let mut names = BTreeSet::new();
        let twice = self.figures.iter().find(|figure| !names.insert(&figure.name));
        ensure!(twice.is_none(), "two figures have the name {:?}", twice.map(|figure| &figure.name));
        let folder = file.parent().context("a file without a folder")?;
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        std::fs::write(file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::Kind;

    #[test]
    fn a_figure_is_the_median_of_its_runs_between_the_least_and_the_most() {
        let figure = Figure::of("a", "× b", [9.0, 2.0, 1.0, 7.0, 3.0]);
        assert_eq!((figure.value, figure.min, figure.max, figure.runs), (3.0, 1.0, 9.0, 5));
        assert_eq!(figure.ratio_to.as_deref(), Some("b"));
        let none = Figure::of("a", "ms", []);
        assert!(
            none.value.is_nan() && none.min.is_nan() && none.max.is_nan() && none.runs == 0 && none.ratio_to.is_none()
        );
    }

    #[test]
    fn figures_are_written_with_their_notes_and_curves_but_not_two_of_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/figures.json");
        let mut figures = Figures::default();
        figures.add(Figure::of("a", "ms", [1.0]));
        figures.note("not measured".into());
        figures.add_curve(Curve::of("c", Kind::Cost, ["x", "y"], [(1.0, vec![1.0]), (2.0, vec![4.0])]));
        figures.write(&file).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        assert_eq!((&json["figures"][0]["name"], &json["notes"][0]), (&"a".into(), &"not measured".into()));
        assert_eq!((&json["figures"][1]["name"], &json["curves"][0]["name"]), (&"c.exponent".into(), &"c".into()));
        figures.add(Figure::of("a", "ms", [2.0]));
        let fault = figures.write(&file).unwrap_err();
        assert!(fault.to_string().contains("\"a\""), "{fault}");
    }
}
