//! The HTML report of a load test: settings, table and charts, as well-formed XML without scripts.

use super::chart::{self, Axis, Chart, Scale, Series};
use super::outcome::{Outcome, SHARES};
use super::page::{self, paragraph, table};
use crate::account::stats::TargetStats;
use crate::sweep::{Breach, Judge};

/// The content of a report.
pub struct Report<'a> {
    pub title: &'a str,
    pub settings: &'a [(&'a str, String)],
    pub runs: &'a [Row],
    /// Of a sweep: the highest sustained rate, if any.
    pub knee: Option<Option<f64>>,
}

/// A run, the sum of its targets, and the reason of a failed step.
pub struct Row {
    pub outcome: Outcome,
    pub total: TargetStats,
    pub breach: Option<Breach>,
}

impl Row {
    /// Of a single run.
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

    /// Table cells for [`HEADER`].
    pub fn cells(&self) -> Vec<String> {
        let asked = self.outcome.settings.rate().map_or("-".into(), |rate| format!("{rate:.0}"));
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

/// Three significant digits, in a suitable unit.
pub fn time_text(time: std::time::Duration) -> String {
    chart::seconds(time.as_secs_f64())
}

impl Report<'_> {
    pub fn html(&self) -> String {
        let mut out = page::begin(self.title, self.settings);
        if let Some(knee) = self.knee {
            let text = match knee {
                Some(rate) => format!("The knee is at {rate:.0} a second, the highest sustained rate."),
                None => "The lowest rate did not hold. Start with a lower one.".to_owned(),
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
        let notes = "Latencies of an open loop start at the intended send time, so they include stalls. Errors are \
                     excluded. Percentiles have three significant digits.";
        paragraph(&mut out, "", notes);
        page::end(&mut out);
        out
    }

    fn problems(&self, out: &mut String, row: &Row) {
        let mut texts = row.outcome.problems(&row.total);
        for (code, errors) in &row.total.errors {
            texts.push(format!("{code}, {} times; the first: {}", errors.count, errors.first));
        }
        texts.extend(row.total.examples.iter().chain(&row.outcome.remarks).cloned());
        let at = row.outcome.settings.rate().map_or(String::new(), |rate| format!("At {rate:.0} a second: "));
        for text in texts {
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
                    let rate = row.outcome.settings.rate()?;
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
        let point = |row: &Row, share| Some((row.outcome.settings.rate()?, row.total.latency(share)?.as_secs_f64()));
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
        let series = |name: String, stats: &TargetStats| {
            let points = stats.percentiles();
            Series::new(name, points.into_iter().map(|(share, time)| (share, time.as_secs_f64())))
        };
        let series = match self.runs {
            [row] if row.outcome.targets.len() > 1 => {
                row.outcome.targets.iter().map(|(name, stats)| series(name.clone(), stats)).collect()
            }
            [row] => vec![series(self.name(row), &row.total)],
            _ => self.examples().into_iter().map(|row| series(self.name(row), &row.total)).collect(),
        };
        Chart {
            title: "Latency by percentile".into(),
            x: Axis::new("share of the answers", Scale::Percentile, chart::percent),
            y: Axis::new("latency", Scale::Log, chart::seconds),
            series,
        }
    }

    /// A selection of sustained rates, in ascending order.
    fn examples(&self) -> Vec<&Row> {
        let mut held: Vec<&Row> = self.runs.iter().filter(|row| row.breach.is_none()).collect();
        held.sort_unstable_by(|one, other| {
            one.outcome.settings.rate().unwrap_or(0.0).total_cmp(&other.outcome.settings.rate().unwrap_or(0.0))
        });
        let (last, most) = (held.len().saturating_sub(1), chart::STYLES.min(held.len()));
        (0..most).filter_map(|at| held.get(at * last / (most - 1).max(1)).copied()).collect()
    }

    fn name(&self, row: &Row) -> String {
        row.outcome.settings.rate().map_or("latency".into(), |rate| format!("{}/s", chart::count(rate)))
    }
}
