//! Checks of the server: version, disk, clock, and the permissions of this connection.

use inferbus_catalog::Version;

use crate::doctor::facts::Facts;
use crate::doctor::finding::{Problem, danger, unknown, warning};
use crate::limits;
use crate::stream::names;

/// The first fixed releases of the maintained lines, for the advisories up to 2026-06-29: bypassed permissions and
/// unauthenticated access. Older lines miss some of the fixes.
static FLOORS: [Version; 2] = [Version::new(2, 12, 12), Version::new(2, 14, 3)];

pub fn version(facts: &Facts) -> Vec<Problem> {
    let text = &facts.server_version;
    let remedy = format!("update nats-server to {}, {} or newer", FLOORS[0], FLOORS[1]);
    let Ok(version) = Version::parse(text) else {
        return vec![unknown(format!("cannot parse the server's version `{text}`"), remedy)];
    };
    let same_line = FLOORS.iter().find(|floor| (floor.major, floor.minor) == (version.major, version.minor));
    let newest = FLOORS.iter().max();
    if same_line.or(newest).is_some_and(|floor| version < *floor) {
        return vec![danger(
            format!("nats-server {version} has known vulnerabilities, fixed in newer releases"),
            remedy,
        )];
    }
    Vec::new()
}

pub fn disk(facts: &Facts) -> Vec<Problem> {
    let disk = match &facts.disk {
        Ok(disk) => disk,
        Err(why) => {
            let message = format!("cannot tell whether the server syncs to disk before it confirms: {why}");
            return vec![unknown(
                message,
                "enable its monitoring (`http: 127.0.0.1:8222`), and pass the address with --monitor",
            )];
        }
    };
    if disk.sync_always {
        return Vec::new();
    }
    let lone: Vec<&str> = ours(facts).into_iter().filter(|name| replicas(facts, name) == Some(1)).collect();
    if lone.is_empty() {
        return Vec::new();
    }
    let message = format!(
        "the server syncs to disk every {} s: a power loss loses confirmed messages of {}",
        disk.sync_seconds,
        lone.join(", ")
    );
    vec![danger(
        message,
        "set `sync_interval: always` for JetStream, or run three servers with three replicas of each stream",
    )]
}

/// The streams with guaranteed contents.
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

/// Above this offset, times in logs and streams are not comparable.
const NOTICEABLE_SECONDS: f64 = 1.0;

pub fn clock(facts: &Facts) -> Vec<Problem> {
    let remedy = "run NTP on the servers and on every worker machine";
    match &facts.clock_ahead {
        Err(why) => vec![unknown(format!("the server's clock is not readable: {why}"), "see the other findings")],
        Ok(ahead) if ahead.abs() > limits::CLOCK_SKEW.as_secs_f64() => {
            let message = format!(
                "this machine's clock is {ahead:+.1} s off the server's; beyond {} s, replays miss stored results",
                limits::CLOCK_SKEW.as_secs()
            );
            vec![danger(message, remedy)]
        }
        Ok(ahead) if ahead.abs() > NOTICEABLE_SECONDS => {
            vec![warning(format!("this machine's clock is {ahead:+.1} s off the server's"), remedy)]
        }
        Ok(_) => Vec::new(),
    }
}

pub fn permissions(facts: &Facts) -> Vec<Problem> {
    if !facts.as_worker {
        return Vec::new();
    }
    let permissions = match &facts.permissions {
        Ok(permissions) => permissions,
        Err(why) => {
            let message = format!("the permissions of this connection are not readable: {why}");
            return vec![unknown(message, "allow its user to publish on $SYS.REQ.USER.INFO")];
        }
    };
    let missing = permissions.missing_for_worker(&facts.prefix, "inferbus", facts.valid_routes());
    let remedy = "add it to the worker's permissions; deploy/nats/accounts.conf has a complete list";
    missing
        .into_iter()
        .map(|permission| danger(format!("a worker with this connection lacks the permission to {permission}"), remedy))
        .collect()
}
