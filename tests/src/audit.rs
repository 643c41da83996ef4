//! The account of a stream's route: what became of every stored message, and everything that is wrong with it.
//!
//! Promises: it looks at nothing but what the streams hold, and believes no counter of the worker.

use std::collections::BTreeMap;
use std::fmt;

use inferbus::stream::names;

use crate::contents::Kept;
use crate::sensor::{End, TOPIC, end, number};

/// Faults that a report spells out; the rest is counted.
const SPELLED_OUT: usize = 40;

/// What the streams hold when all is done.
pub struct Books {
    pub route: String,
    pub stream: String,
    /// The input stream by name and birth, with which every message id begins.
    pub identity: String,
    /// Sequence → number, as the server confirmed it to the publisher.
    pub confirmed: BTreeMap<u64, u64>,
    pub inputs: Vec<Kept>,
    pub results: Vec<Kept>,
    pub dead_letters: Vec<Kept>,
}

/// How all messages ended.
#[derive(Debug, Default)]
pub struct Account {
    pub inputs: usize,
    pub results: usize,
    pub no_results: usize,
    pub dead_letters: usize,
    pub faults: Vec<String>,
}

/// What was found of one input.
#[derive(Default)]
struct Found<'a> {
    events: Vec<&'a Kept>,
    results: Vec<&'a Kept>,
    dead_letters: Vec<&'a Kept>,
}

impl Books {
    pub fn account(&self) -> Account {
        let mut account = Account { inputs: self.inputs.len(), ..Account::default() };
        self.compare_with_confirmed(&mut account);
        let mut found = self.found(&mut account);
        for input in &self.inputs {
            let found = found.remove(&input.sequence).unwrap_or_default();
            self.one(&mut account, input, &found);
        }
        for (sequence, found) in found {
            let strays = found.events.len() + found.results.len() + found.dead_letters.len();
            account
                .faults
                .push(format!("{sequence}: {strays} results or dead letters of a message that is not stored"));
        }
        account
    }

    /// What the server confirmed must be there: else the server, not the worker, has lost it.
    fn compare_with_confirmed(&self, account: &mut Account) {
        let stored: BTreeMap<_, _> = self.inputs.iter().map(|input| (input.sequence, number(&input.payload))).collect();
        for (sequence, number) in &self.confirmed {
            if stored.get(sequence) != Some(&Some(*number)) {
                account.faults.push(format!("{sequence}: the server confirmed number {number} and does not have it"));
            }
        }
    }

    /// Results, events and dead letters of this route, by the sequence that they name.
    fn found(&self, account: &mut Account) -> BTreeMap<u64, Found<'_>> {
        let mut all = BTreeMap::<u64, Found<'_>>::new();
        let topic = format!(".{TOPIC}");
        for stored in self.results.iter().chain(&self.dead_letters).filter(|stored| self.is_ours(stored)) {
            let Some(sequence) = stored.number(names::SEQUENCE.as_ref()) else {
                account
                    .faults
                    .push(format!("{} on {} does not say of which message it is", stored.sequence, stored.subject));
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

    /// Not of another route, and not of a stream of the same name that was deleted.
    fn is_ours(&self, stored: &Kept) -> bool {
        let id = stored.header("Nats-Msg-Id");
        stored.header(names::ROUTE.as_ref()) == self.route && (id.is_empty() || id.starts_with(&self.identity))
    }

    fn one(&self, account: &mut Account, input: &Kept, found: &Found<'_>) {
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
        let faults = account.faults.len();
        for (kind, expected, found, suffix) in kinds {
            if found.len() != expected {
                let described = found.iter().map(|stored| describe(stored)).collect::<String>();
                account.faults.push(format!(
                    "{}: {expected} {kind} expected, {} found{described}",
                    input.sequence,
                    found.len()
                ));
            }
            for stored in found {
                account.faults.extend(self.differences(input, kind, stored, suffix));
            }
        }
        if let ([event], [result]) = (found.events.as_slice(), found.results.as_slice())
            && event.sequence > result.sequence
        {
            account.faults.push(format!("{}: the event was stored after the result", input.sequence));
        }
        if account.faults.len() == faults {
            match expected {
                End::Result => account.results += 1,
                End::NoResult => account.no_results += 1,
                End::Refused => account.dead_letters += 1,
            }
        }
    }

    /// Everything that a result, an event or a dead letter says otherwise than it must.
    fn differences(&self, input: &Kept, kind: &str, stored: &Kept, suffix: &str) -> Vec<String> {
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

fn describe(stored: &Kept) -> String {
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

impl Account {
    /// Fails the test with everything that is wrong.
    #[track_caller]
    pub fn is_sound(self) -> Self {
        assert!(self.faults.is_empty(), "{self}");
        self
    }
}

impl fmt::Display for Account {
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
