//! The result of a load test, as text and as JSON.

use inferbus_loadgen::account::stats::TargetStats;
use inferbus_loadgen::report::html::{HEADER, Row, time_text};
use inferbus_loadgen::report::outcome::SHARES;
use serde_json::json;

use super::found::Found;
use crate::cli::print;

pub fn text(found: &Found) {
    let rows: Vec<Vec<String>> = found.rows.iter().map(Row::cells).collect();
    match (&*found.rows, found.knee) {
        ([row], None) => single(row),
        (_, knee) => {
            print::table(&HEADER, &rows);
            match knee.flatten() {
                Some(rate) => print::line!("knee: {rate:.0} per second, the highest sustained rate"),
                None => print::line!("the lowest rate did not hold: start with a lower --rate"),
            }
        }
    }
    // A sweep expects failures above the knee, and each step has printed its reason.
    let shown = |row: &&Row| found.knee.flatten().is_none() || is_wrong(row);
    found.rows.iter().filter(shown).for_each(|row| problems(row, found.knee.is_some()));
}

fn single(row: &Row) {
    let Row { outcome, total, .. } = row;
    let asked = outcome.settings.rate().map_or(String::new(), |rate| format!(" of {rate:.0} requested"));
    let cut = if outcome.stopped { ", stopped early" } else { "" };
    print::line!(
        "{:.0} per second{asked}: {} answered in {:.1} s{cut}",
        outcome.achieved(total),
        total.answered(),
        outcome.measured.as_secs_f64()
    );
    let targets: Vec<(&str, &TargetStats)> = match &*outcome.targets {
        [_] => vec![("latency", total)],
        many => many.iter().map(|(name, stats)| (&**name, stats)).chain([("total", total)]).collect(),
    };
    let cell = |time: Option<std::time::Duration>| time.map_or("-".into(), time_text);
    let latencies = targets.iter().map(|(name, stats)| {
        let named = [(*name).to_owned(), stats.answered().to_string()];
        named.into_iter().chain(SHARES.map(|(_, share)| cell(stats.latency(share)))).collect()
    });
    let late = ["sent late".to_owned(), String::new()].into_iter();
    let late: Vec<String> = late.chain(SHARES.map(|(_, share)| cell(total.lateness(share)))).collect();
    let rows: Vec<Vec<String>> = latencies.chain(outcome.settings.rate().map(|_| late)).collect();
    let header: Vec<&str> = ["", "count"].into_iter().chain(SHARES.map(|(name, _)| name)).collect();
    print::table(&header, &rows);
    for (count, text) in [
        (total.right, "right"),
        (total.unchecked, "not compared"),
        (total.unfinished, "unanswered at the end of the run"),
        (outcome.late, "answered after the wait"),
        (outcome.foreign, "results of other publishers' messages"),
        (outcome.disconnected, "times the connection was lost"),
    ] {
        if count > 0 {
            print::line!("{count} {text}");
        }
    }
    print::line!(
        "the generator used {:.1} s of processor time, {:.2} processors on average",
        outcome.cpu.as_secs_f64(),
        outcome.generator_load()
    );
}

/// Prints problems to standard error.
fn problems(row: &Row, of_sweep: bool) {
    let Row { outcome, total, .. } = row;
    let rate = outcome.settings.rate().filter(|_| of_sweep);
    let at = rate.map_or(String::new(), |rate| format!("at {rate:.0} per second: "));
    for problem in outcome.problems(total) {
        eprintln!("inferbus: {at}{problem}");
    }
    for (code, errors) in &total.errors {
        eprintln!("  {code}: {} times; the first: {}", errors.count, errors.first);
    }
    for example in total.examples.iter().chain(&outcome.remarks) {
        eprintln!("  {example}");
    }
}

/// Prints a step of a sweep as progress.
pub fn step(row: &Row) {
    let Row { outcome, total, breach } = row;
    let p99 = total.latency(0.99).map_or("-".into(), time_text);
    let asked = outcome.settings.rate().unwrap_or_default();
    let verdict = breach.map_or("holds".into(), |breach| format!("does not hold: {breach}"));
    eprintln!("{asked:.0} per second: {:.0} achieved, p99 {p99}, {verdict}", outcome.achieved(total));
}

pub fn json(settings: &[(&'static str, String)], found: &Found) -> anyhow::Result<()> {
    let runs: Vec<_> = found
        .rows
        .iter()
        .map(|row| {
            let mut run = row.outcome.json(&row.total);
            if found.knee.is_some() {
                run["breach"] = json!(row.breach.map(|breach| breach.to_string()));
            }
            run
        })
        .collect();
    let settings: Vec<_> = settings.iter().map(|(name, value)| json!([name, value])).collect();
    let mut document = json!({ "settings": settings, "good": is_good(found), "runs": runs });
    if let Some(knee) = found.knee {
        document["knee"] = json!(knee);
    }
    print::json(&document)
}

/// A sweep tolerates overload, and never wrong answers.
pub fn is_good(found: &Found) -> bool {
    match found.knee {
        None => found.rows.iter().all(|row| row.outcome.problems(&row.total).is_empty()) && !found.rows.is_empty(),
        Some(knee) => knee.is_some() && !found.rows.iter().any(is_wrong),
    }
}

fn is_wrong(row: &Row) -> bool {
    row.total.wrong + row.total.differs + row.outcome.twice > 0
}
