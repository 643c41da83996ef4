//! The baseline: the accepted instruction counts of the hot functions.
//!
//! Guarantees: a count above the baseline by more than [`TOLERANCE`] fails. A count below it requires a new baseline,
//! so a gain is not lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::count::Counts;

/// The relative tolerance of a count.
const TOLERANCE: f64 = 0.02;
const ACCEPT: &str = "`make guard-accept` accepts these counts; give the reason in the commit";

/// Counts by toolchain.
type Baselines = BTreeMap<String, Counts>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    Less,
    /// Missing in the baseline.
    New,
    /// Only in the baseline.
    Gone,
}

struct Line<'a> {
    name: &'a str,
    baseline: Option<u64>,
    now: Option<u64>,
}

impl Line<'_> {
    fn ratio(&self) -> Option<f64> {
        Some(self.now? as f64 / self.baseline?.max(1) as f64)
    }

    fn verdict(&self) -> Verdict {
        match (self.ratio(), self.now) {
            (Some(ratio), _) if ratio > 1.0 + TOLERANCE => Verdict::More,
            (Some(ratio), _) if ratio < 1.0 - TOLERANCE => Verdict::Less,
            (Some(_), _) => Verdict::Same,
            (None, Some(_)) => Verdict::New,
            (None, None) => Verdict::Gone,
        }
    }
}

/// Counts, and fails if the counts differ from the baseline. Without a baseline, it fails without counting.
pub fn compare(file: &Path, toolchain: &str, count: impl FnOnce() -> anyhow::Result<Counts>) -> anyhow::Result<()> {
    let baselines = read(file)?;
    let baseline = baselines.get(toolchain).with_context(|| {
        let known = baselines.keys().map(String::as_str).collect::<Vec<_>>().join("; ");
        format!(
            "{} lacks a baseline for {toolchain}; known are: {known}. Run `make guard-accept` on a good commit",
            file.display()
        )
    })?;
    let now = count()?;
    let lines = lines(baseline, &now);
    print!("{}", table(&lines));
    judge(&lines)
}

/// Keeps the counts of other toolchains.
pub fn accept(file: &Path, toolchain: &str, counts: Counts) -> anyhow::Result<()> {
    let mut baselines = if file.exists() { read(file)? } else { Baselines::default() };
    let old = baselines.remove(toolchain).unwrap_or_default();
    print!("{}", table(&lines(&old, &counts)));
    baselines.insert(toolchain.to_owned(), counts);
    let text = serde_json::to_string_pretty(&baselines)? + "\n";
    std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

fn read(file: &Path) -> anyhow::Result<Baselines> {
    let text = std::fs::read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a baseline: restore it from git", file.display()))
}

fn lines<'a>(baseline: &'a Counts, now: &'a Counts) -> Vec<Line<'a>> {
    let gone = baseline.keys().filter(|name| !now.contains_key(*name));
    let names = now.keys().chain(gone);
    names.map(|name| Line { name, baseline: baseline.get(name).copied(), now: now.get(name).copied() }).collect()
}

fn table(lines: &[Line<'_>]) -> String {
    let number = |number: Option<u64>| number.map_or("-".into(), |number| number.to_string());
    let mut text =
        format!("{:20} {:>10} {:>10} {:>7}  instructions per call\n", "function", "baseline", "now", "ratio");
    for line in lines {
        let remark = match line.verdict() {
            Verdict::Same => "",
            Verdict::More => "more than allowed",
            Verdict::Less => "less: accept the new baseline",
            Verdict::New => "new: accept a baseline",
            Verdict::Gone => "no longer counted",
        };
        let (baseline, now) = (number(line.baseline), number(line.now));
        let ratio = line.ratio().map_or("-".into(), |ratio| format!("{ratio:.4}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:20} {baseline:>10} {now:>10} {ratio:>7}  {remark}", line.name);
    }
    text
}

fn judge(lines: &[Line<'_>]) -> anyhow::Result<()> {
    let of = |verdict| {
        let names = lines.iter().filter(|line| line.verdict() == verdict).map(|line| line.name);
        names.collect::<Vec<_>>().join(", ")
    };
    let more = of(Verdict::More);
    if !more.is_empty() {
        bail!(
            "more than {} % above the baseline: {more}. Find the reason; if the cost is justified, {ACCEPT}",
            TOLERANCE * 100.0
        );
    }
    if lines.iter().any(|line| line.verdict() != Verdict::Same) {
        bail!("the baseline is outdated, although no count is higher: {ACCEPT}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed setup fails the test")]

    use super::*;

    fn counts(counts: &[(&str, u64)]) -> Counts {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn compared(now: &[(&str, u64)]) -> Result<(), String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline.json");
        accept(&file, "rustc 1, here", counts(&[("a", 1000), ("b", 50)])).unwrap();
        compare(&file, "rustc 1, here", || Ok(counts(now))).map_err(|fault| fault.to_string())
    }

    #[test]
    fn counts_within_the_tolerance_pass() {
        assert_eq!(compared(&[("a", 1020), ("b", 49)]), Ok(()));
    }

    #[test]
    fn more_instructions_fail_and_name_the_function() {
        let fault = compared(&[("a", 1021), ("b", 50)]).unwrap_err();
        assert!(fault.contains("baseline: a. ") && fault.contains("make guard-accept"), "{fault}");
    }

    #[test]
    fn gains_new_functions_and_lost_functions_require_a_new_baseline() {
        for now in [&[("a", 979), ("b", 50)][..], &[("a", 1000), ("b", 50), ("c", 1)], &[("a", 1000)]] {
            let fault = compared(now).unwrap_err();
            assert!(fault.contains("outdated"), "{fault}");
        }
    }

    #[test]
    fn each_toolchain_has_a_separate_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline.json");
        accept(&file, "rustc 1, here", counts(&[("a", 1000)])).unwrap();
        let fault = compare(&file, "rustc 2, here", || panic!("counted without a baseline")).unwrap_err();
        assert!(fault.to_string().contains("a baseline for rustc 2, here; known are: rustc 1, here"), "{fault}");
        accept(&file, "rustc 2, here", counts(&[("a", 2000)])).unwrap();
        compare(&file, "rustc 1, here", || Ok(counts(&[("a", 1000)]))).unwrap();
        compare(&file, "rustc 2, here", || Ok(counts(&[("a", 2000)]))).unwrap();
    }
}
