//! The figures of a run: printed as a table, written as JSON.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde::Serialize;

use crate::paper::curve::Curve;
use crate::paper::figure::Figure;

#[derive(Debug, Default, Serialize)]
pub struct Figures {
    pub figures: Vec<Figure>,
    /// Skipped measurements, with reasons.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
}

impl Figures {
    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Adds the curve, and its exponent as a figure.
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
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        std::fs::write(file, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("{} cannot be written", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::curve::Kind;

    #[test]
    fn figures_are_written_with_notes_and_curves_unless_names_repeat() {
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
