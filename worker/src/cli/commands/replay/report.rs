//! The report of a replay, as text or JSON.

use inferbus::offline::compare::{Comparison, Difference};
use inferbus::offline::replay::{Replay, ReplaySummary};
use serde_json::json;

use crate::cli::print::{self, or_dash};

pub fn text(replay: &Replay, summary: &ReplaySummary) {
    let (identity, comparison) = (&replay.bundle.identity, &summary.comparison);
    let span = summary.span.map_or("none".into(), |(first, last)| format!("{first} to {last}"));
    print::line!(
        "{} {} {}: {} messages of {} ({span})",
        identity.model,
        identity.version,
        identity.digest,
        comparison.messages(),
        replay.source.name()
    );
    for (label, count) in rows(comparison, summary.compared) {
        print::line!("  {label:12} {count:>9}");
    }
    for (sequence, Difference { stored, new, .. }) in &comparison.differences {
        print::line!("  {sequence}: {} → {}", or_dash(stored.as_ref()), new.as_deref().unwrap_or("no result"));
    }
    for (sequence, why) in &comparison.failures {
        print::line!("  {sequence} failed: {why}");
    }
    if replay.output.is_some() {
        let ReplaySummary { results, emits, duplicates, stored, .. } = summary;
        let kept =
            if stored.is_empty() { "not stored by any stream".into() } else { format!("stored: {}", stored.join(" ")) };
        print::line!(
            "published {results} results and {emits} emitted events; {duplicates} results were stored already; {kept}"
        );
    }
}

/// Counts per verdict. Without stored results there is no comparison.
fn rows(comparison: &Comparison, compared: bool) -> Vec<(&'static str, u64)> {
    let Comparison { same, different, only_stored, only_new, no_result, failed, .. } = comparison;
    if compared {
        let compared =
            [("same", *same), ("different", *different), ("only stored", *only_stored), ("only new", *only_new)];
        return compared.into_iter().chain([("no result", *no_result), ("failed", *failed)]).collect();
    }
    vec![("results", *only_new), ("no result", *no_result), ("failed", *failed)]
}

pub fn json(replay: &Replay, summary: &ReplaySummary) -> anyhow::Result<()> {
    let (identity, comparison) = (&replay.bundle.identity, &summary.comparison);
    let counts: serde_json::Map<_, _> = rows(comparison, summary.compared)
        .into_iter()
        .map(|(label, count)| (label.replace(' ', "_"), count.into()))
        .collect();
    let differences: Vec<_> = comparison
        .differences
        .iter()
        .map(|(sequence, Difference { stored, new, .. })| json!({ "sequence": sequence, "stored": stored, "new": new }))
        .collect();
    let failures: Vec<_> =
        comparison.failures.iter().map(|(sequence, why)| json!({ "sequence": sequence, "error": why })).collect();
    let published = replay.output.as_ref().map(|_| {
        let ReplaySummary { results, emits, duplicates, stored, .. } = summary;
        json!({ "results": results, "emits": emits, "duplicates": duplicates, "stored": stored })
    });
    print::json(&json!({
        "model": identity.model.as_str(), "version": identity.version.to_string(),
        "digest": identity.digest.to_string(),
        "stream": replay.source.name(), "messages": comparison.messages(),
        "first": summary.span.map(|(first, _)| first), "last": summary.span.map(|(_, last)| last),
        "compared": summary.compared, "counts": counts, "differences": differences, "failures": failures,
        "published": published,
    }))
}
