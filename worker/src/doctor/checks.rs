//! All checks, in the order of the report. A check is a pure function of the facts.

mod fleet;
mod server;
mod streams;

use super::facts::Facts;
use super::finding::{Finding, Level, Problem};

struct Check {
    name: &'static str,
    /// The message of a check without problems.
    ok: &'static str,
    run: fn(&Facts) -> Vec<Problem>,
}

const CHECKS: [Check; 13] = [
    Check { name: "server", ok: "the server has the fixes of all known advisories", run: server::version },
    Check { name: "disk", ok: "confirmed messages survive a power loss", run: server::disk },
    Check { name: "clock", ok: "the clocks of this machine and the server agree", run: server::clock },
    Check { name: "permissions", ok: "this connection has all required permissions", run: server::permissions },
    Check { name: "capture", ok: "no stream captures request subjects", run: streams::capture },
    Check { name: "routes", ok: "every route is valid and has its streams and consumer", run: streams::routes },
    Check { name: "readers", ok: "workers serve every consumer with pending messages", run: streams::readers },
    Check { name: "leftovers", ok: "every consumer belongs to a route", run: streams::leftovers },
    Check {
        name: "ack-wait",
        ok: "the ack wait of every route exceeds the run time of its model",
        run: streams::ack_wait,
    },
    Check { name: "dead-letters", ok: "there are no dead letters", run: streams::dead_letters },
    Check { name: "catalog", ok: "every active version is loadable", run: fleet::catalog },
    Check { name: "workers", ok: "every worker is ready", run: fleet::workers },
    Check { name: "versions", ok: "all workers run the same version of Inferbus", run: fleet::versions },
];

pub fn run(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for check in &CHECKS {
        let problems = (check.run)(facts);
        if problems.is_empty() {
            let message = check.ok.to_owned();
            findings.push(Finding { check: check.name, level: Level::Ok, message, remedy: String::new() });
        }
        findings.extend(problems.into_iter().map(|problem| {
            let Problem { level, message, remedy } = problem;
            Finding { check: check.name, level, message, remedy }
        }));
    }
    findings
}

#[cfg(test)]
mod tests;
