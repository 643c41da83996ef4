//! What a bench found, for people and for programs.

use inferbus::bench::outcome::SHARES;
use inferbus::bench::report::{HEADER, Row, time_text};
use inferbus::bench::tally::Tally;
use serde_json::json;

use super::Found;
use crate::cli::print;

pub fn text(found: &Found) {
    let rows: Vec<Vec<String>> = found.rows.iter().map(Row::cells).collect();
    match (&*found.rows, found.knee) {
        ([row], None) => single(row),
        (_, knee) => {
            print::table(&HEADER, &rows);
            match knee.flatten() {
                Some(rate) => print::line!("knee: {rate:.0} a second, the highest rate that held"),
                None => print::line!("the lowest rate did not hold: begin with a lower --rate"),
            }
        }
    }
    // That rates above the knee do not hold is what a sweep has to find; the steps have said why.
    let told = |row: &&Row| found.knee.flatten().is_none() || is_wrong(row);
    found.rows.iter().filter(told).for_each(|row| problems(row, found.knee.is_some()));
}

fn single(row: &Row) {
    let Row { outcome, total, .. } = row;
    let asked = outcome.stint.rate().map_or(String::new(), |rate| format!(" of {rate:.0} asked"));
    let cut = if outcome.stopped { ", ended by hand" } else { "" };
    print::line!(
        "{:.0} a second{asked}: {} answered in {:.1} s{cut}",
        outcome.achieved(total),
        total.answered(),
        outcome.measured.as_secs_f64()
    );
    let targets: Vec<(&str, &Tally)> = match &*outcome.targets {
        [_] => vec![("latency", total)],
        many => many.iter().map(|(name, tally)| (&**name, tally)).chain([("total", total)]).collect(),
    };
    let cell = |time: Option<std::time::Duration>| time.map_or("-".into(), time_text);
    let latencies = targets.iter().map(|(name, tally)| {
        let named = [(*name).to_owned(), tally.answered().to_string()];
        named.into_iter().chain(SHARES.map(|(_, share)| cell(tally.latency(share)))).collect()
    });
    let late = ["sent late".to_owned(), String::new()].into_iter();
    let late: Vec<String> = late.chain(SHARES.map(|(_, share)| cell(total.lateness(share)))).collect();
    let rows: Vec<Vec<String>> = latencies.chain(outcome.stint.rate().map(|_| late)).collect();
    let header: Vec<&str> = ["", "count"].into_iter().chain(SHARES.map(|(name, _)| name)).collect();
    print::table(&header, &rows);
    for (count, what) in [
        (total.right, "right"),
        (total.unchecked, "not compared"),
        (total.unfinished, "without an answer when the run was ended"),
        (outcome.late, "answered after they were given up"),
        (outcome.foreign, "results of messages that others have published"),
        (outcome.disconnected, "times the connection was lost"),
    ] {
        if count > 0 {
            print::line!("{count} {what}");
        }
    }
    print::line!(
        "the generator took {:.1} s of processor time, {:.2} processors on average",
        outcome.cpu.as_secs_f64(),
        outcome.generator_load()
    );
}

/// What is wrong goes to standard error, as with every command.
fn problems(row: &Row, of_sweep: bool) {
    let Row { outcome, total, .. } = row;
    let at = outcome.stint.rate().filter(|_| of_sweep).map_or(String::new(), |rate| format!("at {rate:.0} a second: "));
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

/// Tells of a step while the sweep goes on.
pub fn step(row: &Row) {
    let Row { outcome, total, breach } = row;
    let p99 = total.latency(0.99).map_or("-".into(), time_text);
    let asked = outcome.stint.rate().unwrap_or_default();
    let verdict = breach.map_or("holds".into(), |breach| format!("does not hold: {breach}"));
    eprintln!("{asked:.0} a second: {:.0} achieved, p99 {p99}, {verdict}", outcome.achieved(total));
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
    let mut told = json!({ "settings": settings, "good": is_good(found), "runs": runs });
    if let Some(knee) = found.knee {
        told["knee"] = json!(knee);
    }
    print::json(&told)
}

/// Overload is what a sweep looks for; wrong answers never are.
pub fn is_good(found: &Found) -> bool {
    match found.knee {
        None => found.rows.iter().all(|row| row.outcome.problems(&row.total).is_empty()) && !found.rows.is_empty(),
        Some(knee) => knee.is_some() && !found.rows.iter().any(is_wrong),
    }
}

/// No load excuses that.
fn is_wrong(row: &Row) -> bool {
    row.total.wrong + row.total.differs + row.outcome.twice > 0
}
