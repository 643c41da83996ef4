//! Every check, and the order in which they are told. Pure judgement over facts.

mod fleet;
mod server;
mod streams;

use super::facts::Facts;
use super::finding::{Finding, Level, Remark};

struct Check {
    name: &'static str,
    /// Said where nothing was found.
    fine: &'static str,
    look: fn(&Facts) -> Vec<Remark>,
}

const CHECKS: [Check; 13] = [
    Check { name: "server", fine: "the server has the fixes of all known advisories", look: server::version },
    Check { name: "disk", fine: "what is confirmed survives the loss of power", look: server::disk },
    Check { name: "clock", fine: "our clock and the server's agree", look: server::clock },
    Check { name: "permissions", fine: "this connection may do what is asked of it", look: server::permissions },
    Check { name: "capture", fine: "no stream answers in place of a worker", look: streams::capture },
    Check { name: "routes", fine: "every route can be read and has what it needs", look: streams::routes },
    Check { name: "readers", fine: "every consumer with messages has somebody who takes them", look: streams::readers },
    Check { name: "leftovers", fine: "every consumer belongs to a route", look: streams::leftovers },
    Check { name: "ack-wait", fine: "every route waits longer than its model takes", look: streams::ack_wait },
    Check { name: "dead-letters", fine: "no dead letter waits", look: streams::dead_letters },
    Check { name: "catalog", fine: "every active version can be loaded", look: fleet::catalog },
    Check { name: "workers", fine: "every worker is ready", look: fleet::workers },
    Check { name: "versions", fine: "all workers are of one version", look: fleet::versions },
];

pub fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in &CHECKS {
        let remarks = (check.look)(facts);
        if remarks.is_empty() {
            let what = check.fine.to_owned();
            findings.push(Finding { check: check.name, level: Level::Ok, what, todo: String::new() });
        }
        findings.extend(remarks.into_iter().map(|Remark { level, what, todo }| Finding {
            check: check.name,
            level,
            what,
            todo,
        }));
    }
    findings
}

#[cfg(test)]
mod tests;
