//! The baseline: what the hot functions took when somebody last looked and found it right.
//!
//! Promises: more than [`TOLERANCE`] above it fails, and as much below asks for a new one, so that a gain is not lost unseen.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::count::Counts;

/// How far a count may be from its baseline, in parts of it.
const TOLERANCE: f64 = 0.02;
const ACCEPT: &str = "`make guard-accept` makes these counts the baseline; the commit says why they changed";

/// Counts by the toolchain that they belong to.
type Baselines = BTreeMap<String, Counts>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    Less,
    /// It has no baseline.
    New,
    /// It is only in the baseline.
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

/// Counts and fails if that is not what the baseline says; without a baseline it does not count.
pub fn compare(file: &Path, toolchain: &str, count: impl FnOnce() -> anyhow::Result<Counts>) -> anyhow::Result<()> {
    let baselines = read(file)?;
    let baseline = baselines.get(toolchain).with_context(|| {
        let known = baselines.keys().map(String::as_str).collect::<Vec<_>>().join("; ");
        format!("{} has no baseline for {toolchain}, only for: {known}. Take one from a commit that is right: `make guard-accept`", file.display())
    })?;
    let now = count()?;
    let lines = lines(baseline, &now);
    print!("{}", table(&lines));
    judge(&lines)
}

/// Keeps what was counted for other toolchains.
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
    serde_json::from_slice(&text).with_context(|| format!("{} is not a baseline: take it from git", file.display()))
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
        let says = match line.verdict() {
            Verdict::Same => "",
            Verdict::More => "more than allowed",
            Verdict::Less => "less: accept the new baseline",
            Verdict::New => "has no baseline",
            Verdict::Gone => "is not counted any more",
        };
        let (baseline, now) = (number(line.baseline), number(line.now));
        let ratio = line.ratio().map_or("-".into(), |ratio| format!("{ratio:.4}"));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:20} {baseline:>10} {now:>10} {ratio:>7}  {says}", line.name);
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
            "more instructions than {} % over the baseline: {more}. Find out why; if it is worth it, {ACCEPT}",
            TOLERANCE * 100.0
        );
    }
    if lines.iter().any(|line| line.verdict() != Verdict::Same) {
        bail!("the baseline does not fit any more, although nothing takes more: {ACCEPT}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

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
    fn what_is_within_the_tolerance_passes() {
        assert_eq!(compared(&[("a", 1020), ("b", 49)]), Ok(()));
    }

    #[test]
    fn more_instructions_fail_and_name_the_function() {
        let fault = compared(&[("a", 1021), ("b", 50)]).unwrap_err();
        assert!(fault.contains("baseline: a. ") && fault.contains("make guard-accept"), "{fault}");
    }

    #[test]
    fn a_gain_a_new_function_and_a_lost_one_ask_for_a_new_baseline() {
        for now in [&[("a", 979), ("b", 50)][..], &[("a", 1000), ("b", 50), ("c", 1)], &[("a", 1000)]] {
            let fault = compared(now).unwrap_err();
            assert!(fault.contains("does not fit any more"), "{fault}");
        }
    }

    #[test]
    fn another_toolchain_has_its_own_baseline() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("baseline.json");
        accept(&file, "rustc 1, here", counts(&[("a", 1000)])).unwrap();
        let fault = compare(&file, "rustc 2, here", || panic!("there is nothing to compare with")).unwrap_err();
        assert!(fault.to_string().contains("no baseline for rustc 2, here, only for: rustc 1, here"), "{fault}");
        accept(&file, "rustc 2, here", counts(&[("a", 2000)])).unwrap();
        compare(&file, "rustc 1, here", || Ok(counts(&[("a", 1000)]))).unwrap();
        compare(&file, "rustc 2, here", || Ok(counts(&[("a", 2000)]))).unwrap();
    }
}
