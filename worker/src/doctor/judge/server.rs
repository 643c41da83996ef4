//! The server itself: its version, its disk, its clock, and what it lets this connection do.

use inferbus_catalog::Version;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Remark, danger, unknown, warning};
use crate::limits;
use crate::stream::names;

/// The first releases of their lines with the fixes of the advisories up to 2026-06-29, the newest known: permissions that
/// could be passed by, and an unauthenticated way in. Older lines have not all of them.
static FLOORS: [Version; 2] = [Version::new(2, 12, 12), Version::new(2, 14, 3)];

pub fn version(facts: &Facts) -> Vec<Remark> {
    let text = &facts.server_version;
    let todo = format!("run nats-server {} or {}, or newer", FLOORS[0], FLOORS[1]);
    let Ok(version) = Version::parse(text) else {
        return vec![unknown(format!("the server's version is `{text}`, which says nothing"), todo)];
    };
    let same_line = FLOORS.iter().find(|floor| (floor.major, floor.minor) == (version.major, version.minor));
    let newest = FLOORS.iter().max();
    if same_line.or(newest).is_some_and(|floor| version < *floor) {
        return vec![danger(format!("nats-server {version} has known holes that newer releases do not have"), todo)];
    }
    Vec::new()
}

pub fn disk(facts: &Facts) -> Vec<Remark> {
    let disk = match &facts.disk {
        Ok(disk) => disk,
        Err(why) => {
            let what = format!("whether the server writes to disk before it confirms is not known: {why}");
            return vec![unknown(what, "let it be monitored (`http: 127.0.0.1:8222`), and name that with --monitor")];
        }
    };
    if disk.sync_always {
        return Vec::new();
    }
    let lone: Vec<&str> = ours(facts).into_iter().filter(|name| replicas(facts, name) == Some(1)).collect();
    if lone.is_empty() {
        return Vec::new();
    }
    let what = format!(
        "the server writes to disk every {} s, so what it confirmed for {} is lost with the power",
        disk.sync_seconds,
        lone.join(", ")
    );
    vec![danger(
        what,
        "set `sync_interval: always` for JetStream, or run three servers and give the streams three replicas",
    )]
}

/// The streams that hold what is promised not to be lost.
fn ours(facts: &Facts) -> Vec<&str> {
    let mut of_routes: Vec<String> = vec!["KV_models".into(), "KV_routes".into(), "OBJ_artifacts".into()];
    for (name, route) in facts.stream_routes() {
        of_routes.extend(route.stream().map(|options| options.stream.to_string()));
        of_routes.push(names::results(name, route));
        of_routes.push(names::DEAD_LETTERS.into());
    }
    let streams = facts.streams.iter().flatten().map(|stream| stream.config.name.as_str());
    streams.filter(|name| of_routes.iter().any(|own| own == name)).collect()
}

fn replicas(facts: &Facts, name: &str) -> Option<usize> {
    facts.stream(name).map(|stream| stream.config.num_replicas)
}

/// Above this, times in logs and in streams can no longer be compared.
const NOTICEABLE_SECONDS: f64 = 1.0;

pub fn clock(facts: &Facts) -> Vec<Remark> {
    let todo = "run NTP on the servers and on every machine with a worker";
    match &facts.clock_ahead {
        Err(why) => vec![unknown(format!("the server's clock could not be read: {why}"), "see the other findings")],
        Ok(ahead) if ahead.abs() > limits::CLOCK_SKEW.as_secs_f64() => {
            let what = format!(
                "our clock is {ahead:+.1} s off the server's, over the {} s within which earlier results are found",
                limits::CLOCK_SKEW.as_secs()
            );
            vec![danger(what, todo)]
        }
        Ok(ahead) if ahead.abs() > NOTICEABLE_SECONDS => {
            vec![warning(format!("our clock is {ahead:+.1} s off the server's"), todo)]
        }
        Ok(_) => Vec::new(),
    }
}

pub fn permissions(facts: &Facts) -> Vec<Remark> {
    if !facts.as_worker {
        return Vec::new();
    }
    let permissions = match &facts.permissions {
        Ok(permissions) => permissions,
        Err(why) => {
            let what = format!("what this connection may do is not known: {why}");
            return vec![unknown(what, "let its user publish on $SYS.REQ.USER.INFO")];
        }
    };
    let missing = permissions.missing_for_a_worker(&facts.prefix, "inferbus", facts.valid_routes());
    let todo = "add it to the worker's list; deploy/nats/accounts.conf has a whole one";
    missing.into_iter().map(|lacks| danger(format!("a worker with this connection may not {lacks}"), todo)).collect()
}
