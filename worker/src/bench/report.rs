//! One HTML file of a bench: settings, table, charts. No script, nothing from outside, and well-formed XML.

use std::fmt::Write as _;

use super::chart::{self, Axis, Chart, Scale, Series, escaped};
use super::outcome::{Outcome, SHARES};
use super::sweep::{Breach, Judge};
use super::tally::Tally;

/// What a report tells of.
pub struct Report<'a> {
    pub title: &'a str,
    pub settings: &'a [(&'a str, String)],
    pub runs: &'a [Row],
    /// Of a sweep: the highest rate that held, if any did.
    pub knee: Option<Option<f64>>,
}

/// A run, its sum, and for a step of a sweep why its rate does not hold.
pub struct Row {
    pub outcome: Outcome,
    pub total: Tally,
    pub breach: Option<Breach>,
}

impl Row {
    /// Of a run by itself.
    pub fn new(outcome: Outcome) -> Option<Self> {
        let total = outcome.total()?;
        Some(Self { outcome, total, breach: None })
    }

    /// Of a step of a sweep.
    pub fn judged(outcome: Outcome, judge: &mut Judge) -> Option<Self> {
        let total = outcome.total()?;
        let breach = outcome.step(&total).and_then(|step| judge.holds(step).err());
        Some(Self { outcome, total, breach })
    }

    /// The cells of the table under [`HEADER`].
    pub fn cells(&self) -> Vec<String> {
        let asked = self.outcome.stint.rate().map_or("-".into(), |rate| format!("{rate:.0}"));
        let latency = |share| self.total.latency(share).map_or("-".into(), time_text);
        let verdict = match &self.breach {
            Some(breach) => breach.to_string(),
            None => String::new(),
        };
        let errors = self.total.failures() + self.outcome.twice;
        [asked, format!("{:.0}", self.outcome.achieved(&self.total))]
            .into_iter()
            .chain(SHARES.map(|(_, share)| latency(share)))
            .chain([errors.to_string(), self.total.not_sent.to_string(), verdict])
            .collect()
    }
}

pub const HEADER: [&str; 10] =
    ["asked/s", "achieved/s", "p50", "p90", "p99", "p99.9", "max", "errors", "not sent", "does not hold"];

/// Three digits that matter, in the unit that suits.
pub fn time_text(time: std::time::Duration) -> String {
    chart::seconds(time.as_secs_f64())
}

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
color:#1c2733;background:#fff}table{border-collapse:collapse;margin:1rem 0;font-variant-numeric:tabular-nums}\
th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #d7dde3}th:first-child,td:first-child{text-align:left}\
td.text,th.text{text-align:left}.bad{color:#b3261e}.wide{overflow-x:auto}svg{margin:1rem 0}\
@media(prefers-color-scheme:dark){body{color:#e6ebf0;background:#14191f}th,td{border-color:#3a4550}.bad{color:#f2938c}}";

impl Report<'_> {
    pub fn html(&self) -> String {
        let mut out = format!(
            "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\"><head><meta charset=\"utf-8\"/>\
             <meta name=\"viewport\" content=\"width=device-width\"/><meta name=\"color-scheme\" content=\"light dark\"/>\
             <title>{0}</title><style>{STYLE}</style></head><body>\n<h1>{0}</h1>\n",
            escaped(self.title)
        );
        let settings = self.settings.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]);
        table(&mut out, &["setting", "value"], settings);
        if let Some(knee) = self.knee {
            let text = match knee {
                Some(rate) => format!("The knee is at {rate:.0} a second: the highest rate that held."),
                None => "The lowest rate did not hold; begin with a lower one.".to_owned(),
            };
            paragraph(&mut out, "", &text);
        }
        table(&mut out, &HEADER, self.runs.iter().map(Row::cells));
        for row in self.runs {
            self.problems(&mut out, row);
        }
        for chart in self.charts() {
            out.push_str(&chart.svg());
            out.push('\n');
        }
        let notes = "Latencies of an open loop begin when a request was to be sent, whether or not it was: what a stall delays is \
                     in the figures. Errors have no latency. Percentiles are kept to three digits.";
        paragraph(&mut out, "", notes);
        out.push_str("</body></html>\n");
        out
    }

    fn problems(&self, out: &mut String, row: &Row) {
        let mut told = row.outcome.problems(&row.total);
        for (code, errors) in &row.total.errors {
            told.push(format!("{code}, {} times; the first: {}", errors.count, errors.first));
        }
        told.extend(row.total.examples.iter().chain(&row.outcome.remarks).cloned());
        let at = row.outcome.stint.rate().map_or(String::new(), |rate| format!("At {rate:.0} a second: "));
        for text in told {
            paragraph(out, "bad", &format!("{at}{text}"));
        }
    }

    fn charts(&self) -> Vec<Chart> {
        let mut charts = Vec::new();
        if self.knee.is_some() {
            charts.extend([self.throughput(), self.p99()]);
        }
        charts.push(self.latency());
        charts
    }

    fn throughput(&self) -> Chart {
        let points = |of: fn(&Row, f64) -> f64| {
            let mut points: Vec<_> = self
                .runs
                .iter()
                .filter_map(|row| {
                    let rate = row.outcome.stint.rate()?;
                    Some((rate, of(row, rate)))
                })
                .collect();
            points.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
            points
        };
        let achieved = points(|row, _| row.outcome.achieved(&row.total));
        Chart {
            title: "Achieved rate".into(),
            x: Axis::new("asked, per second", Scale::Log, chart::count),
            y: Axis::new("per second", Scale::Log, chart::count),
            series: vec![Series::new("achieved", achieved), Series::new("asked", points(|_, rate| rate))],
        }
    }

    fn p99(&self) -> Chart {
        let point = |row: &Row, share| Some((row.outcome.stint.rate()?, row.total.latency(share)?.as_secs_f64()));
        let series = ["p50", "p99"].into_iter().zip([0.5, 0.99]).map(|(name, share)| {
            let mut points: Vec<_> = self.runs.iter().filter_map(|row| point(row, share)).collect();
            points.sort_unstable_by(|one, other| one.0.total_cmp(&other.0));
            Series::new(name, points)
        });
        Chart {
            title: "Latency over rate".into(),
            x: Axis::new("asked, per second", Scale::Log, chart::count),
            y: Axis::new("latency", Scale::Log, chart::seconds),
            series: series.collect(),
        }
    }

    fn latency(&self) -> Chart {
        let series = |name: String, tally: &Tally| {
            let points = tally.percentiles();
            Series::new(name, points.into_iter().map(|(share, time)| (share, time.as_secs_f64())))
        };
        let series = match self.runs {
            [row] if row.outcome.targets.len() > 1 => {
                row.outcome.targets.iter().map(|(name, tally)| series(name.clone(), tally)).collect()
            }
            [row] => vec![series(self.name(row), &row.total)],
            _ => self.examples().into_iter().map(|row| series(self.name(row), &row.total)).collect(),
        };
        Chart {
            title: "Latency by percentile".into(),
            x: Axis::new("share of the answers that took no longer", Scale::Percentile, chart::percent),
            y: Axis::new("latency", Scale::Log, chart::seconds),
            series,
        }
    }

    /// Some of the rates that held, from the lowest to the highest.
    fn examples(&self) -> Vec<&Row> {
        let mut held: Vec<&Row> = self.runs.iter().filter(|row| row.breach.is_none()).collect();
        held.sort_unstable_by(|one, other| {
            one.outcome.stint.rate().unwrap_or(0.0).total_cmp(&other.outcome.stint.rate().unwrap_or(0.0))
        });
        let (last, most) = (held.len().saturating_sub(1), chart::LOOKS.min(held.len()));
        (0..most).filter_map(|at| held.get(at * last / (most - 1).max(1)).copied()).collect()
    }

    fn name(&self, row: &Row) -> String {
        row.outcome.stint.rate().map_or("latency".into(), |rate| format!("{}/s", chart::count(rate)))
    }
}

fn paragraph(out: &mut String, class: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(text));
}

fn table(out: &mut String, header: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    out.push_str("<div class=\"wide\"><table><thead><tr>");
    for title in header {
        let _ = write!(out, "<th>{}</th>", escaped(title));
    }
    out.push_str("</tr></thead><tbody>\n");
    for row in rows {
        out.push_str("<tr>");
        for cell in row {
            let _ = write!(out, "<td>{}</td>", escaped(&cell));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}
