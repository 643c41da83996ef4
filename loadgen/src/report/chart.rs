//! Line charts as SVG, without scripts or external references, for light and dark backgrounds.
//!
//! A chart is data: axes, and series of points. [`Chart::svg`] returns one `<svg>` element, standalone or for HTML.

use std::fmt::Write as _;

mod axis;

pub use axis::{Axis, Scale, count, percent, seconds};

#[derive(Clone, Debug)]
pub struct Chart {
    pub title: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
}

/// One line, with its name in the legend. Points outside an axis (zero on a logarithmic one) are skipped.
#[derive(Clone, Debug)]
pub struct Series {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

impl Series {
    pub fn new(name: impl Into<String>, points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self { name: name.into(), points: points.into_iter().collect() }
    }
}

const WIDTH: f64 = 760.0;
const PLOT: Plot = Plot { left: 72.0, right: 744.0, height: 270.0 };
const TITLE: f64 = 26.0;
const LEGEND_ROW: f64 = 20.0;
const BELOW: f64 = 52.0;
/// The largest width of a letter, for line breaks of the legend.
const LETTER: f64 = 7.2;
const SWATCH: f64 = 34.0;
/// Distinct styles by colour and stroke. Further lines repeat them.
pub const STYLES: usize = 6;
/// Lines with more points are drawn without markers.
const MARKED: usize = 26;

struct Plot {
    left: f64,
    right: f64,
    height: f64,
}

/// Colours have equal lightness on each background. Different strokes help colour-blind readers.
const STYLE: &str = "\
.chart{font:13px system-ui,sans-serif;max-width:100%;height:auto;--ink:#1c2733;--soft:#5b6875;--rule:#d7dde3;\
--c0:#1f6fb2;--c1:#c2571a;--c2:#2f8a4c;--c3:#8551b5;--c4:#b83a52;--c5:#56707d}\
@media(prefers-color-scheme:dark){.chart{--ink:#e6ebf0;--soft:#9aa7b3;--rule:#3a4550;\
--c0:#6cb2ee;--c1:#f09a5c;--c2:#6cc58a;--c3:#c19aec;--c4:#f08a9d;--c5:#a3bac6}}\
.chart text{fill:var(--soft)}.chart .title{fill:var(--ink);font-weight:600;font-size:15px}\
.chart .name{fill:var(--ink)}.chart .rule{stroke:var(--rule);stroke-width:1}\
.chart .line{fill:none;stroke-width:2;stroke-linejoin:round;stroke-linecap:round}\
.chart .s0{stroke:var(--c0)}.chart .s1{stroke:var(--c1);stroke-dasharray:7 4}\
.chart .s2{stroke:var(--c2);stroke-dasharray:2 4}\
.chart .s3{stroke:var(--c3);stroke-dasharray:10 4 2 4}.chart .s4{stroke:var(--c4);stroke-dasharray:4 2}\
.chart .s5{stroke:var(--c5);stroke-dasharray:12 4}\
.chart .m0{fill:var(--c0)}.chart .m1{fill:var(--c1)}.chart .m2{fill:var(--c2)}.chart .m3{fill:var(--c3)}\
.chart .m4{fill:var(--c4)}.chart .m5{fill:var(--c5)}";

impl Chart {
    pub fn svg(&self) -> String {
        let rows = self.legend_rows();
        let top = TITLE + LEGEND_ROW * rows.len() as f64 + 14.0;
        let (bottom, height) = (top + PLOT.height, top + PLOT.height + BELOW);
        let all = || self.series.iter().flat_map(|series| &series.points).copied();
        // A point outside one axis must not stretch the other.
        let shown = all().filter(|(x, y)| self.x.shows(*x) && self.y.shows(*y));
        let (xs, ys): (Vec<_>, Vec<_>) = shown.unzip();
        let (x, y) = (self.x.span(&xs), self.y.span(&ys));
        let at = |point: (f64, f64)| {
            let across = x.share(point.0)? * (PLOT.right - PLOT.left) + PLOT.left;
            Some((across, bottom - y.share(point.1)? * PLOT.height))
        };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" \
             width=\"{WIDTH}\" height=\"{height}\" role=\"img\"><title>{0}</title><style>{STYLE}</style>\
             <text class=\"title\" x=\"{1}\" y=\"18\">{0}</text>",
            escaped(&self.title),
            PLOT.left
        );
        legend(&mut out, &rows);
        for (tick, label) in x.ticks() {
            let Some((across, _)) = at((tick, y.first())) else { continue };
            rule(&mut out, (across, top), (across, bottom));
            label_at(&mut out, (across, bottom + 18.0), "middle", &label);
        }
        for (tick, label) in y.ticks() {
            let Some((_, up)) = at((x.first(), tick)) else { continue };
            rule(&mut out, (PLOT.left, up), (PLOT.right, up));
            label_at(&mut out, (PLOT.left - 8.0, up + 4.0), "end", &label);
        }
        label_at(&mut out, (f64::midpoint(PLOT.left, PLOT.right), bottom + 40.0), "middle", &self.x.label);
        let middle = f64::midpoint(top, bottom);
        write(
            &mut out,
            format_args!(
                "<text x=\"14\" y=\"{middle:.1}\" text-anchor=\"middle\" \
                 transform=\"rotate(-90 14 {middle:.1})\">{}</text>",
                escaped(&self.y.label)
            ),
        );
        let marked = self.series.iter().all(|series| series.points.len() <= MARKED);
        for (index, series) in self.series.iter().enumerate() {
            line(&mut out, index % STYLES, marked, series.points.iter().filter_map(|point| at(*point)).collect());
        }
        out.push_str("</svg>");
        out
    }

    /// Entries with style and horizontal position, by row. A single line is drawn without a legend.
    fn legend_rows(&self) -> Vec<Vec<(usize, f64, &str)>> {
        if self.series.len() < 2 {
            return Vec::new();
        }
        let mut rows: Vec<Vec<(usize, f64, &str)>> = vec![Vec::new()];
        let mut across = PLOT.left;
        for (index, series) in self.series.iter().enumerate() {
            let width = SWATCH + series.name.chars().count() as f64 * LETTER + 16.0;
            if across + width > PLOT.right && across > PLOT.left {
                rows.push(Vec::new());
                across = PLOT.left;
            }
            if let Some(row) = rows.last_mut() {
                row.push((index % STYLES, across, &series.name));
            }
            across += width;
        }
        rows
    }
}

fn legend(out: &mut String, rows: &[Vec<(usize, f64, &str)>]) {
    for (row, entries) in rows.iter().enumerate() {
        let base = TITLE + LEGEND_ROW * row as f64 + 14.0;
        for (style, across, name) in entries {
            let (up, end, text) = (base - 4.0, across + 26.0, across + SWATCH);
            write(
                out,
                format_args!(
                    "<path class=\"line s{style}\" d=\"M{across:.1} {up:.1}H{end:.1}\"/>\
                     <text class=\"name\" x=\"{text:.1}\" y=\"{base:.1}\">{}</text>",
                    escaped(name)
                ),
            );
        }
    }
}

fn line(out: &mut String, style: usize, marked: bool, points: Vec<(f64, f64)>) {
    let mut path = String::new();
    for (index, (x, y)) in points.iter().enumerate() {
        let step = if index == 0 { 'M' } else { 'L' };
        write(&mut path, format_args!("{step}{x:.1} {y:.1}"));
    }
    if !path.is_empty() {
        write(out, format_args!("<path class=\"line s{style}\" d=\"{path}\"/>"));
    }
    if marked || points.len() == 1 {
        for (x, y) in points {
            write(out, format_args!("<circle class=\"m{style}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.6\"/>"));
        }
    }
}

fn rule(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    write(out, format_args!("<path class=\"rule\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>", from.0, from.1, to.0, to.1));
}

fn label_at(out: &mut String, at: (f64, f64), anchor: &str, text: &str) {
    let (x, y) = at;
    write(out, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escaped(text)));
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = out.write_fmt(text);
}

/// Escapes text for XML and HTML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // XML cannot represent other control characters.
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: Vec<Series>) -> Chart {
        let x = Axis::new("share of the requests", Scale::Percentile, percent);
        Chart { title: "a <title> & \"more\"".into(), x, y: Axis::new("latency", Scale::Log, seconds), series }
    }

    #[test]
    fn text_is_escaped_and_invisible_points_are_skipped() {
        let series = Series::new("<script>", [(0.0, 0.001), (0.9, 0.002), (0.99, f64::NAN), (1.0, 3.0), (0.5, 0.0)]);
        let svg = chart(vec![series, Series::new("b", [])]).svg();
        assert!(svg.contains("a &lt;title&gt; &amp; &quot;more&quot;") && svg.contains("&lt;script&gt;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<script"), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
        assert!(escaped("\u{1}\u{0}").chars().all(|letter| letter == '\u{fffd}'));
    }

    #[test]
    fn charts_without_points_or_with_one_are_valid() {
        assert!(chart(vec![]).svg().ends_with("</svg>"));
        let one = chart(vec![Series::new("one", [(0.0, 0.004)])]).svg();
        assert!(one.contains("<circle") && !one.contains("NaN"), "{one}");
    }

    #[test]
    fn points_are_placed_by_their_axes() {
        let x = Axis::new("x", Scale::Linear, count);
        let chart = Chart {
            title: String::new(),
            y: Axis::new("y", Scale::Log, count),
            x,
            series: vec![Series::new("", [(0.0, 1.0), (50.0, 10.0), (100.0, 100.0)])],
        };
        let svg = chart.svg();
        let top = TITLE + 14.0;
        let line = format!(
            "M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}",
            PLOT.left,
            top + PLOT.height,
            f64::midpoint(PLOT.left, PLOT.right),
            top + PLOT.height / 2.0,
            PLOT.right,
            top
        );
        assert!(svg.contains(&line), "{line} is missing: {svg}");
    }

    #[test]
    fn a_long_legend_wraps() {
        let names =
            |count: usize| (0..count).map(|n| Series::new(format!("contestant number {n}"), [(0.0, 1.0)])).collect();
        assert_eq!(chart(names(1)).legend_rows().len(), 0);
        assert_eq!(chart(names(2)).legend_rows().len(), 1);
        let many = chart(names(9));
        assert!(many.legend_rows().len() > 1);
        assert_eq!(many.legend_rows().iter().flatten().count(), 9);
    }
}
