//! The crash history: the messages and versions on a lane at earlier crashes, and the versions cleared since.
//!
//! Guarantees: the verdicts depend on a bounded history alone. It is a text file for operators to read or delete.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::Path;

use super::file::{LOADING, REQUEST, now, replace};
use crate::limits;

/// The crash of one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Seconds since the Unix epoch.
    pub at: u64,
    /// Digests and the messages running on them.
    pub on_lanes: Vec<(String, String)>,
    /// Digests with a completed message in this process before the crash.
    pub cleared: Vec<String>,
}

/// The number of crashes for a quarantine of a version, without a completed message between them.
const VERSION_DEATHS: usize = 3;
/// The number of crashes for a rejection of a message: with and without other messages completed by its version since.
const MESSAGE_DEATHS: (usize, usize) = (2, 3);

#[derive(Default)]
struct Version {
    /// Crashes since the last completed message, each with the messages on lanes.
    deaths: Vec<HashSet<String>>,
}

#[derive(Clone, Default)]
struct Message {
    deaths: usize,
    /// Its version has completed another message since this one's first crash.
    version_is_cleared: bool,
    version: String,
}

#[derive(Default)]
pub struct Crashes {
    versions: HashMap<String, Version>,
    messages: HashMap<String, Message>,
}

impl Crashes {
    /// Adds crashes to the history in the file and evaluates all of it.
    pub fn read(path: &Path, deaths: Vec<Death>) -> io::Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => String::new(),
            Err(fault) => return Err(fault),
        };
        let last = deaths.iter().map(|death| death.at).max();
        let mut lines: Vec<String> = text.lines().map(ToOwned::to_owned).collect();
        lines.extend(deaths.iter().flat_map(Death::lines));
        let now = last.unwrap_or_else(|| now() / 1_000_000);
        let young = |line: &String| {
            let at = line.split(' ').nth(1).and_then(|at| at.parse::<u64>().ok());
            at.is_some_and(|at| at + limits::CRASH_MEMORY.as_secs() >= now)
        };
        lines.retain(young);
        lines.drain(..lines.len().saturating_sub(limits::CRASH_LINES));
        if last.is_some() {
            replace(path, &(lines.join("\n") + "\n"))?;
        }
        Ok(Self::judge(lines.iter().map(String::as_str)))
    }

    fn judge<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let mut crashes = Self::default();
        for line in lines {
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["ended", _, digest] => crashes.ended(digest),
                ["died", _, digest, ref messages @ ..] => crashes.died(digest, messages),
                // A line of a later program version, or edited by an operator.
                _ => {}
            }
        }
        crashes
    }

    fn ended(&mut self, digest: &str) {
        self.versions.remove(digest);
        for message in self.messages.values_mut().filter(|message| message.version == digest) {
            message.version_is_cleared = true;
        }
    }

    fn died(&mut self, digest: &str, messages: &[&str]) {
        let version = self.versions.entry(digest.to_owned()).or_default();
        version.deaths.push(messages.iter().map(|message| (*message).to_owned()).collect());
        for message in messages.iter().filter(|message| ![LOADING, REQUEST].contains(*message)) {
            let message = self.messages.entry((*message).to_owned()).or_default();
            message.deaths += 1;
            message.version = digest.to_owned();
        }
    }

    /// The messages on a lane during a crash.
    pub fn suspects(&self) -> HashSet<String> {
        self.messages.keys().cloned().collect()
    }

    /// The number of a message's crashes, if it reaches the bound.
    pub fn crash_count(&self, message: &str) -> Option<usize> {
        let message = self.messages.get(message)?;
        let (with_cleared, alone) = MESSAGE_DEATHS;
        let most = if message.version_is_cleared { with_cleared } else { alone };
        // A version in quarantine is the cause itself.
        let excused = self.quarantined(&message.version).is_some();
        (message.deaths >= most && !excused).then_some(message.deaths)
    }

    /// The number of a version's crashes, if it reaches the bound and no single message took part in all of them.
    pub fn quarantined(&self, digest: &str) -> Option<usize> {
        let deaths = &self.versions.get(digest)?.deaths;
        let always_loading = deaths.iter().filter(|death| death.contains(LOADING)).count() >= VERSION_DEATHS;
        let one_in_all = |message: &&String| deaths.iter().all(|death| death.contains(*message));
        let one_message = deaths.first().is_some_and(|death| {
            death.iter().filter(|message| *message != REQUEST).any(|message| one_in_all(&message))
        });
        (deaths.len() >= VERSION_DEATHS && (always_loading || !one_message)).then_some(deaths.len())
    }
}

impl Death {
    fn lines(&self) -> Vec<String> {
        let ended = self.cleared.iter().map(|digest| format!("ended {} {digest}", self.at));
        let mut by_digest = BTreeMap::<&str, Vec<&str>>::new();
        for (digest, message) in &self.on_lanes {
            by_digest.entry(digest).or_default().push(message);
        }
        let died =
            by_digest.iter().map(|(digest, messages)| format!("died {} {digest} {}", self.at, messages.join(" ")));
        ended.chain(died).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Crashes {
        Crashes::judge(lines.iter().copied())
    }

    #[test]
    fn one_crash_only_makes_suspects() {
        let crashes = judge(&["died 1 v a b"]);
        assert_eq!(crashes.suspects(), ["a", "b"].map(ToOwned::to_owned).into());
        assert_eq!((crashes.crash_count("a"), crashes.quarantined("v")), (None, None));
    }

    #[test]
    fn a_message_that_crashes_a_cleared_version_is_rejected() {
        assert_eq!(judge(&["died 1 v a b", "ended 2 v", "died 2 v a"]).crash_count("a"), Some(2));
        assert_eq!(judge(&["died 1 v a b", "ended 2 v", "died 2 v a"]).crash_count("b"), None);
        assert_eq!(judge(&["died 1 v a", "died 2 v a"]).crash_count("a"), None, "the version is not cleared");
    }

    #[test]
    fn a_single_message_is_rejected_before_its_version_is_quarantined() {
        let crashes = judge(&["died 1 v a", "died 2 v a", "died 3 v a"]);
        assert_eq!((crashes.crash_count("a"), crashes.quarantined("v")), (Some(3), None));
    }

    #[test]
    fn a_version_that_crashes_with_every_message_is_quarantined() {
        let crashes = judge(&["died 1 v a b", "died 2 v a", "died 3 v b"]);
        assert_eq!((crashes.quarantined("v"), crashes.quarantined("w")), (Some(3), None));
        let often = judge(&["died 1 v a b", "died 2 v a", "died 3 v a", "died 4 v b"]);
        assert_eq!((often.quarantined("v"), often.crash_count("a")), (Some(4), None), "the version is the cause");
        assert_eq!(judge(&["died 1 v request", "died 2 v request", "died 3 v request"]).quarantined("v"), Some(3));
        assert_eq!(judge(&["died 1 v loading", "died 2 v loading", "died 3 v loading"]).quarantined("v"), Some(3));
    }

    #[test]
    fn kills_from_outside_have_no_consequences() {
        let deaths: Vec<String> = (0..100).map(|n| format!("died {n} v message{n}")).collect();
        let lines: Vec<&str> = deaths.iter().flat_map(|death| ["ended 0 v", death.as_str()]).collect();
        let crashes = judge(&lines);
        assert_eq!(crashes.quarantined("v"), None);
        assert!((0..100).all(|n| crashes.crash_count(&format!("message{n}")).is_none()));
    }

    #[test]
    fn history_is_kept_and_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("crashes");
        let death =
            |at, message: &str| Death { at, on_lanes: vec![("v".into(), message.into())], cleared: vec!["v".into()] };
        let suspects = |deaths| Crashes::read(&path, deaths).expect("read").suspects();
        assert_eq!(suspects(vec![death(1000, "a")]), ["a".to_owned()].into());
        assert_eq!(Crashes::read(&path, vec![death(1001, "a")]).expect("read").crash_count("a"), Some(2));
        let later = 1001 + limits::CRASH_MEMORY.as_secs() + 1;
        assert_eq!(suspects(vec![death(later, "b")]), ["b".to_owned()].into());
        assert!(suspects(Vec::new()).is_empty(), "old lines expire without another crash");
    }
}
