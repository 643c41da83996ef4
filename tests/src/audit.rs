//! The audit of a stream's route: the end of every stored message, and every fault.
//!
//! Guarantees: it reads only the streams, and no counter of the worker.

use std::collections::BTreeMap;
use std::fmt;

use inferbus::stream::names;

use crate::sensor_bundle::{End, TOPIC, end, number};
use crate::stored::Stored;

/// The number of faults spelled out in a report; the rest are counted.
const SPELLED_OUT: usize = 40;

/// The contents of the streams at the end.
pub struct Records {
    pub route: String,
    pub stream: String,
    /// The input stream by name and creation time; every message id begins with it.
    pub identity: String,
    /// Sequence → number, as the server confirmed it to the publisher.
    pub confirmed: BTreeMap<u64, u64>,
    pub inputs: Vec<Stored>,
    pub results: Vec<Stored>,
    pub dead_letters: Vec<Stored>,
}

/// How all messages ended.
#[derive(Debug, Default)]
pub struct Audit {
    pub inputs: usize,
    pub results: usize,
    pub no_results: usize,
    pub dead_letters: usize,
    pub faults: Vec<String>,
}

/// The messages found for one input.
#[derive(Default)]
struct Found<'a> {
    events: Vec<&'a Stored>,
    results: Vec<&'a Stored>,
    dead_letters: Vec<&'a Stored>,
}

impl Records {
    pub fn audit(&self) -> Audit {
        let mut audit = Audit { inputs: self.inputs.len(), ..Audit::default() };
        self.compare_with_confirmed(&mut audit);
        let mut found = self.found(&mut audit);
        for input in &self.inputs {
            let found = found.remove(&input.sequence).unwrap_or_default();
            self.one(&mut audit, input, &found);
        }
        for (sequence, found) in found {
            let strays = found.events.len() + found.results.len() + found.dead_letters.len();
            audit.faults.push(format!("{sequence}: {strays} results or dead letters of a message that is not stored"));
        }
        audit
    }

    /// Every confirmed message must be stored, or the server lost it, not the worker.
    fn compare_with_confirmed(&self, audit: &mut Audit) {
        let stored: BTreeMap<_, _> = self.inputs.iter().map(|input| (input.sequence, number(&input.payload))).collect();
        for (sequence, number) in &self.confirmed {
            if stored.get(sequence) != Some(&Some(*number)) {
                audit.faults.push(format!("{sequence}: the server confirmed number {number} and does not have it"));
            }
        }
    }

    /// Results, events and dead letters of this route, by their sequence.
    fn found(&self, audit: &mut Audit) -> BTreeMap<u64, Found<'_>> {
        let mut all = BTreeMap::<u64, Found<'_>>::new();
        let topic = format!(".{TOPIC}");
        for stored in self.results.iter().chain(&self.dead_letters).filter(|stored| self.is_ours(stored)) {
            let Some(sequence) = stored.number(names::SEQUENCE.as_ref()) else {
                audit.faults.push(format!("{} on {} does not name its message", stored.sequence, stored.subject));
                continue;
            };
            let found = all.entry(sequence).or_default();
            if stored.subject.starts_with("inferbus.dlq.") {
                found.dead_letters.push(stored);
            } else if stored.subject.ends_with(&topic) {
                found.events.push(stored);
            } else {
                found.results.push(stored);
            }
        }
        all
    }

    /// Excludes other routes, and deleted streams of the same name.
    fn is_ours(&self, stored: &Stored) -> bool {
        let id = stored.header("Nats-Msg-Id");
        stored.header(names::ROUTE.as_ref()) == self.route && (id.is_empty() || id.starts_with(&self.identity))
    }

    fn one(&self, audit: &mut Audit, input: &Stored, found: &Found<'_>) {
        let expected = end(&input.payload);
        let (events, results, dead_letters) = match expected {
            End::Result => (1, 1, 0),
            End::NoResult => (0, 0, 0),
            End::Refused => (0, 0, 1),
        };
        let kinds = [
            ("event", events, &found.events, "/1"),
            ("result", results, &found.results, ""),
            ("dead letter", dead_letters, &found.dead_letters, ""),
        ];
        let faults = audit.faults.len();
        for (kind, expected, found, suffix) in kinds {
            if found.len() != expected {
                let described = found.iter().map(|stored| describe(stored)).collect::<String>();
                audit.faults.push(format!(
                    "{}: {expected} {kind} expected, {} found{described}",
                    input.sequence,
                    found.len()
                ));
            }
            for stored in found {
                audit.faults.extend(self.differences(input, kind, stored, suffix));
            }
        }
        if let ([event], [result]) = (found.events.as_slice(), found.results.as_slice())
            && event.sequence > result.sequence
        {
            audit.faults.push(format!("{}: the event was stored after the result", input.sequence));
        }
        if audit.faults.len() == faults {
            match expected {
                End::Result => audit.results += 1,
                End::NoResult => audit.no_results += 1,
                End::Refused => audit.dead_letters += 1,
            }
        }
    }

    /// Every difference of a result, an event or a dead letter.
    fn differences(&self, input: &Stored, kind: &str, stored: &Stored, suffix: &str) -> Vec<String> {
        let id = format!("{}/{}/{}{suffix}", self.identity, input.sequence, self.route);
        let mut pairs = vec![
            ("Nats-Msg-Id", id),
            ("Inferbus-Stream", self.stream.clone()),
            ("Inferbus-Sequence", input.sequence.to_string()),
        ];
        if kind == "dead letter" {
            pairs.push(("Inferbus-Reason", "refused".into()));
            pairs.push(("Inferbus-Subject", input.subject.clone()));
        }
        let headers = pairs.into_iter().filter(|(name, value)| stored.header(name) != value).map(|(name, value)| {
            format!("{}: a {kind} with `{name}: {}` instead of `{value}`", input.sequence, stored.header(name))
        });
        let payload = (stored.payload != input.payload)
            .then(|| format!("{}: a {kind} with other bytes: {:02x?}", input.sequence, stored.payload));
        headers.chain(payload).collect()
    }
}

fn describe(stored: &Stored) -> String {
    let text = |name| stored.header(name);
    format!(
        "; {} on {} id `{}` by {} {}{}",
        stored.sequence,
        stored.subject,
        text("Nats-Msg-Id"),
        text("Inferbus-Version"),
        text("Inferbus-Reason"),
        if text("Inferbus-Error").is_empty() { String::new() } else { format!(": {}", text("Inferbus-Error")) },
    )
}

impl Audit {
    /// Fails the test with every fault.
    #[track_caller]
    pub fn is_sound(self) -> Self {
        assert!(self.faults.is_empty(), "{self}");
        self
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inputs, results, no_results, dead_letters, faults } = self;
        write!(f, "{inputs} messages: {results} results, {no_results} without result, {dead_letters} dead letters")?;
        write!(f, ", {} faults", faults.len())?;
        for fault in faults.iter().take(SPELLED_OUT) {
            write!(f, "\n  {fault}")?;
        }
        if faults.len() > SPELLED_OUT {
            write!(f, "\n  and {} more", faults.len() - SPELLED_OUT)?;
        }
        Ok(())
    }
}
