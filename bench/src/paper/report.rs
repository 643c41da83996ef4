//! The figures as one HTML page: well-formed XML without scripts or external references.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context as _;
use inferbus_loadgen::report::chart::escaped;
use inferbus_loadgen::report::page::{self, paragraph, table};

use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::paper::goals::GOALS;

const HEADER: [&str; 8] = ["figure", "median", "min", "max", "runs", "goal", "", "unit"];

pub fn write(figures: &Figures, settings: &[(&str, String)], file: &Path) -> anyhow::Result<()> {
    std::fs::write(file, html(figures, settings)).with_context(|| format!("{} cannot be written", file.display()))
}

fn html(figures: &Figures, settings: &[(&str, String)]) -> String {
    let mut out = page::begin("Inferbus, measured", settings);
    out.push_str("<h2>Figures</h2>\n");
    let missing = GOALS.iter().filter(|goal| figures.figures.iter().all(|figure| !goal.is_of(&figure.name)));
    let missing = missing.map(|goal| {
        let empty = || "-".to_owned();
        let name = goal.figure.to_owned();
        vec![name, empty(), empty(), empty(), "0".into(), goal.to_string(), "not measured in this run".into(), empty()]
    });
    table(&mut out, &HEADER, figures.figures.iter().map(cells).chain(missing));
    let notes = "The machine's speed varies from minute to minute. Ratios compare neighbours in time; other figures \
                 are less meaningful. Every answer was checked during the measurement.";
    paragraph(&mut out, "", notes);
    figures.notes.iter().for_each(|note| paragraph(&mut out, "bad", note));
    curves(&mut out, figures);
    page::end(&mut out);
    out
}

fn cells(figure: &Figure) -> Vec<String> {
    let (goal, verdict) = match figure.goal {
        Some(goal) => (goal.to_string(), if goal.is_met(figure.value) { "met" } else { "missed" }),
        None => (String::new(), ""),
    };
    let numbers = [figure.value, figure.min, figure.max].map(number);
    let [value, min, max] = numbers;
    vec![figure.name.clone(), value, min, max, figure.runs.to_string(), goal, verdict.into(), figure.unit.clone()]
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn curves(out: &mut String, figures: &Figures) {
    if !figures.curves.is_empty() {
        out.push_str("<h2>Growth</h2>\n");
    }
    for curve in &figures.curves {
        let class = if curve.is_worse_than_linear() { "bad" } else { "" };
        let _ =
            writeln!(out, "<p class=\"{class}\"><b>{}</b>: {}</p>", escaped(&curve.name), escaped(&curve.verdict()));
        out.push_str(&curve.chart().svg());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paper::curve::{Curve, Kind};

    fn figures() -> Figures {
        let mut figures = Figures::default();
        figures.add(Figure::of("worker.cpu_vs_native", "× native.cpu_us", [1.1, 1.2, 9.0]));
        figures.add(Figure::of("worker.cpu_us", "µs <b>", [f64::NAN]));
        let curve = Curve::of("a & b", Kind::Cost, ["x", "y"], [(1.0, vec![1.0]), (2.0, vec![8.0]), (4.0, vec![64.0])]);
        figures.curves.push(curve);
        figures.note("peer <x>: it cannot be installed".into());
        figures
    }

    #[test]
    fn missed_goals_goals_without_figures_and_notes_are_shown() {
        let html = html(&figures(), &[("date", "to<day".into())]);
        assert!(html.contains("<td>≤ 1.15</td><td>missed</td>"), "{html}");
        assert!(html.contains("bomb.p99_ratio") && html.contains("not measured in this run"), "{html}");
        assert!(
            html.contains("to&lt;day") && html.contains("µs &lt;b&gt;") && html.contains("<b>a &amp; b</b>"),
            "{html}"
        );
        assert!(html.contains("peer &lt;x&gt;: it cannot be installed"), "{html}");
        assert!(html.contains("WORSE THAN LINEAR") && html.contains("<svg"), "{html}");
        assert!(!html.contains("<script") && !html.contains("src="), "{html}");
    }

    #[test]
    fn json_has_ratios_and_goals() {
        let json = serde_json::to_value(figures()).unwrap();
        let figure = &json["figures"][0];
        assert_eq!(figure["ratio_to"], "native.cpu_us");
        assert_eq!((&figure["goal"]["relation"], &figure["goal"]["value"]), (&"<=".into(), &1.15.into()));
        assert!(json["figures"][1]["ratio_to"].is_null() && json["figures"][1].get("goal").is_none());
        assert_eq!(figure["value"], 1.2);
    }

    #[test]
    fn every_figure_has_at_most_one_goal() {
        let names: std::collections::BTreeSet<_> = GOALS.iter().map(|goal| goal.figure).collect();
        assert_eq!(names.len(), GOALS.len());
    }
}
