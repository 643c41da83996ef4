//! What a replay found, for people and for programs.

use inferbus::offline::again::{Replay, Summary};
use inferbus::offline::compare::{Difference, Tally};
use serde_json::json;

use crate::cli::print::{self, or_dash};

pub fn text(replay: &Replay, summary: &Summary) {
    let (identity, tally) = (&replay.bundle.identity, &summary.tally);
    let span = summary.span.map_or("none".into(), |(first, last)| format!("{first} to {last}"));
    print::line!(
        "{} {} {}: {} messages of {} ({span})",
        identity.model,
        identity.version,
        identity.digest,
        tally.messages(),
        replay.source.name()
    );
    for (what, count) in rows(tally, summary.compared) {
        print::line!("  {what:12} {count:>9}");
    }
    for (sequence, Difference { stored, new, .. }) in &tally.differences {
        print::line!("  {sequence}: {} → {}", or_dash(stored.as_ref()), new.as_deref().unwrap_or("no result"));
    }
    for (sequence, why) in &tally.failures {
        print::line!("  {sequence} failed: {why}");
    }
    if replay.output.is_some() {
        let Summary { results, emits, duplicates, stored, .. } = summary;
        let kept =
            if stored.is_empty() { "no stream stores them".into() } else { format!("stored: {}", stored.join(" ")) };
        print::line!(
            "published {results} results and {emits} emitted events; {duplicates} results were stored already; {kept}"
        );
    }
}

/// Without stored results there is nothing that could be the same or different.
fn rows(tally: &Tally, compared: bool) -> Vec<(&'static str, u64)> {
    let Tally { same, different, only_stored, only_new, no_result, failed, .. } = tally;
    if compared {
        let compared =
            [("same", *same), ("different", *different), ("only stored", *only_stored), ("only new", *only_new)];
        return compared.into_iter().chain([("no result", *no_result), ("failed", *failed)]).collect();
    }
    vec![("results", *only_new), ("no result", *no_result), ("failed", *failed)]
}

pub fn json(replay: &Replay, summary: &Summary) -> anyhow::Result<()> {
    let (identity, tally) = (&replay.bundle.identity, &summary.tally);
    let counts: serde_json::Map<_, _> =
        rows(tally, summary.compared).into_iter().map(|(what, count)| (what.replace(' ', "_"), count.into())).collect();
    let differences: Vec<_> = tally
        .differences
        .iter()
        .map(|(sequence, Difference { stored, new, .. })| json!({ "sequence": sequence, "stored": stored, "new": new }))
        .collect();
    let failures: Vec<_> =
        tally.failures.iter().map(|(sequence, why)| json!({ "sequence": sequence, "error": why })).collect();
    let published = replay.output.as_ref().map(|_| {
        let Summary { results, emits, duplicates, stored, .. } = summary;
        json!({ "results": results, "emits": emits, "duplicates": duplicates, "stored": stored })
    });
    print::json(&json!({
        "model": identity.model.as_str(), "version": identity.version.to_string(), "digest": identity.digest.to_string(),
        "stream": replay.source.name(), "messages": tally.messages(),
        "first": summary.span.map(|(first, _)| first), "last": summary.span.map(|(_, last)| last),
        "compared": summary.compared, "counts": counts, "differences": differences, "failures": failures,
        "published": published,
    }))
}
