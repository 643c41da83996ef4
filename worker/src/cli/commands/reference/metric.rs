//! The page of metrics, read from a scrape of one sample worker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use inferbus::observe::metrics::Metrics;
use inferbus_catalog::Digest;
use inferbus_pipeline::outcome::VERDICTS;
use inferbus_pipeline::{Identity, MessageTimes, Plan};

use super::markdown::{code, codes, sentence, table};

/// The model, version and route in the sample. Other label values come from the program.
const MODEL: &str = "sample-model";
const VERSION: &str = "0.0.1";
const ROUTE: &str = "sample-route";

const INTRODUCTION: &str = "\
A worker serves these metrics at `/metrics` of its admin address, in the OpenMetrics text format. Labels come from the
catalog and from this program, never from a message.
";

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    unit: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

pub fn page() -> anyhow::Result<String> {
    let families = families(&sample()?);
    let rows = families.iter().map(|family| {
        [code(&family.series()), family.kind.clone(), family.unit.clone(), family.labels(), sentence(&family.help)]
    });
    let table = table(["metric", "type", "unit", "labels", "meaning"], rows);
    Ok(format!("# Metrics\n\n{INTRODUCTION}\n{}\n", table.trim_end()))
}

/// The scrape of a worker with one model, one route and one failure, so that every family has a series.
fn sample() -> anyhow::Result<String> {
    let digest = Digest::of(b"sample");
    let identity = Identity { model: MODEL.parse()?, version: VERSION.parse()?, digest };
    let metrics = Metrics::new();
    let bundle = metrics.bundle(&identity, &Plan::chain(true, true));
    metrics.bundle_in_service(None, &identity);
    metrics.load_failed(MODEL);
    let _route = metrics.route(&ROUTE.parse()?);
    if let Some((verdict, _)) = VERDICTS.first() {
        metrics.refusal(*verdict, "");
        bundle.failed(*verdict, "", &MessageTimes::default(), Duration::ZERO);
    }
    Ok(metrics.text()?.replace(&digest.to_string(), "sample-digest"))
}

fn families(scrape: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for line in scrape.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let help = help.trim_end_matches('.').to_owned();
            families.push(Family { name: name.to_owned(), help, ..Family::default() });
        }
        let Some(family) = families.last_mut() else { continue };
        if let Some((_, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            family.kind = kind.to_owned();
        } else if let Some((_, unit)) = line.strip_prefix("# UNIT ").and_then(|rest| rest.split_once(' ')) {
            family.unit = unit.to_owned();
        } else if let Some((labels, _)) = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
            family.add(labels);
        }
    }
    families
}

impl Family {
    /// The name in a query: counters end with `_total`.
    fn series(&self) -> String {
        if self.kind == "counter" { format!("{}_total", self.name) } else { self.name.clone() }
    }

    /// Adds the labels of one series, such as `model="m",outcome="ok"`. No value contains a comma.
    fn add(&mut self, labels: &str) {
        for (name, value) in labels.split(',').filter_map(|label| label.split_once('=')) {
            if name != "le" {
                self.labels.entry(name.to_owned()).or_default().insert(value.trim_matches('"').to_owned());
            }
        }
    }

    fn labels(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, values)| label(name, values)).collect();
        labels.join("; ")
    }
}

/// A label with its values, if the program determines them.
fn label(name: &str, values: &BTreeSet<String>) -> String {
    let is_error = |value: &str| VERDICTS.iter().any(|(verdict, _)| verdict.label == value);
    let fixed = values.iter().map(String::as_str).filter(|value| !value.starts_with("sample-") && *value != VERSION);
    let (errors, fixed): (Vec<&str>, Vec<&str>) = fixed.partition(|value| is_error(value));
    let mut parts = Vec::new();
    if !fixed.is_empty() {
        parts.push(codes(fixed));
    }
    if !errors.is_empty() {
        parts.push("an [error label](errors.md)".to_owned());
    }
    if parts.is_empty() { code(name) } else { format!("{}: {}", code(name), parts.join(" or ")) }
}
