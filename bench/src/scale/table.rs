//! The tables of docs/explanation/scale.md, from the formulas in `model.rs`.

use std::fmt::Write as _;

use super::model::Deployment;

const WORKERS: [f64; 3] = [10.0, 100.0, 1000.0];
const DEVICES: [f64; 3] = [1e4, 1e5, 1e6];
const PERIODS: [f64; 2] = [1.0, 10.0];
const KEYS: f64 = 10_000.0;

const HEAD: [&str; 9] = [
    "workers",
    "devices",
    "every",
    "messages/s",
    "workers needed",
    "servers' messages/s",
    "servers' cores",
    "servers needed",
    "asked for most",
];
const CONTROL_HEAD: [&str; 6] = [
    "workers",
    "requests/s at rest",
    "requests for a bump",
    "100 MB to all",
    "sent at a start of all",
    "following again",
];

/// Two tables in Markdown: the needs of messages, and the needs of workers independent of messages.
pub fn text() -> String {
    let mut out = String::new();
    head(&mut out, &HEAD);
    for workers in WORKERS {
        for devices in DEVICES {
            for period in PERIODS {
                row(&mut out, &messages(&Deployment { workers, devices, period, keys: KEYS }));
            }
        }
    }
    out.push('\n');
    head(&mut out, &CONTROL_HEAD);
    for workers in WORKERS {
        row(&mut out, &control(&Deployment { workers, devices: 0.0, period: 1.0, keys: KEYS }));
    }
    out
}

fn messages(of: &Deployment) -> Vec<String> {
    let limit = of.first_limit();
    let verdict = if limit.share > 1.0 {
        format!("**{}, {:.1} ×**", limit.name, limit.share)
    } else {
        percent(limit.name, limit.share)
    };
    vec![
        count(of.workers),
        count(of.devices),
        format!("{} s", of.period),
        count(of.messages()),
        count(of.workers_needed()),
        count(of.server_messages()),
        format!("{:.1}", of.server_cores()),
        count(of.servers_needed()),
        verdict,
    ]
}

fn percent(name: &str, share: f64) -> String {
    format!("{name}, {:.0} %", share * 100.0)
}

fn control(of: &Deployment) -> Vec<String> {
    vec![
        count(of.workers),
        format!("{:.1}", of.requests_at_rest()),
        count(of.bump_requests()),
        format!("{:.1} GB", of.fetch_bytes(1e8) / 1e9),
        format!("{:.2} GB in {:.1} s of the server", of.start_bytes() / 1e9, of.start_seconds()),
        format!("{:.1} s", of.reconnect_seconds()),
    ]
}

fn head(out: &mut String, names: &[&str]) {
    row(out, &names.iter().map(ToString::to_string).collect::<Vec<_>>());
    row(out, &names.iter().map(|_| "---".to_owned()).collect::<Vec<_>>());
}

fn row(out: &mut String, cells: &[String]) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

/// With commas between thousands.
fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let grouped: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    grouped.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([1.0, 999.0, 1000.0, 1e6].map(count), ["1", "999", "1,000", "1,000,000"]);
    }

    #[test]
    fn the_page_has_the_tables_of_the_formulas() {
        let page = std::fs::read_to_string(crate::project::root().join("docs/explanation/scale.md")).unwrap();
        let missing: Vec<String> =
            text().lines().filter(|line| !page.lines().any(|other| other == *line)).map(ToOwned::to_owned).collect();
        assert!(
            missing.is_empty(),
            "copy the output of `inferbus-bench scale --table` into docs/explanation/scale.md: {missing:#?}"
        );
    }
}
