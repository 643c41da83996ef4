//! Version bumps under load with killed workers: every result is of a version active while its message was in flight.
//! e2e/version_bump has the bumps without kills.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::datetime::parse_rfc3339;
use async_nats::jetstream::kv::{Store, Watch};
use futures_util::StreamExt as _;
use inferbus_catalog::Catalog;
use inferbus_testkit::breadth::long_size;
use inferbus_testkit::random::Random;
use inferbus_tests::sensor_bundle::SENSOR;
use inferbus_tests::stored::Stored;
use inferbus_tests::stream_site::{StreamSite, push};
use inferbus_tests::workers::Workers;
use inferbus_tests::{FIRST, WorkerOptions, say};
use serde_json::Value;
use tokio::time::{interval, timeout};

const PER_SECOND: u32 = 100;
const WORKERS: usize = 2;
const BETWEEN_BUMPS: Duration = Duration::from_millis(100);
const BUMPS_PER_KILL: usize = 25;
const LOAD: Duration = Duration::from_secs(30);
const LONG_LOAD: Duration = Duration::from_secs(600);

/// Enough versions to keep each one from returning during a worker's last turn.
const VERSIONS: usize = 40;

const ROUTE: [&str; 4] = ["--ack-wait", "1s", "--max-deliveries", "1000"];

/// The time in which one worker may have answered with a version: from its put until the worker's log line of the
/// next version. Nanoseconds since 1970.
struct Turn {
    version: String,
    from: i128,
    until: i128,
}

/// One put of the active version.
struct Bump {
    version: String,
    put: i128,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bump_every_100_ms_while_workers_are_killed() {
    let mut random = Random::of_run("chaos_bumps", 0);
    let site = StreamSite::single(&ROUTE).await;
    let digests = push_versions(&site).await;
    let models = site.publisher.context().get_key_value("models").await.expect("the bucket");
    let watch = models.watch_with_history(SENSOR).await.expect("a watch");
    let mut workers = Workers::start(&site.url(), WORKERS, WorkerOptions::default());
    let load = site.publisher.load(PER_SECOND);
    let bumps = bump(&models, &mut workers, &mut random).await;
    load.end().await;
    site.publisher.settle().await;

    let bumps = recorded(watch, bumps).await;
    let turns = turns(&bumps, &workers.end());
    let records = site.publisher.records().await;
    let audit = records.audit().is_sound();
    let inputs: BTreeMap<u64, i128> = records.inputs.iter().map(|input| (input.sequence, input.time)).collect();
    let strangers: Vec<_> =
        records.results.iter().filter(|result| !was_active(result, &inputs, &turns, &digests)).collect();
    assert!(
        strangers.is_empty(),
        "{} results of versions that were not active: {:#?}",
        strangers.len(),
        strangers.first()
    );
    say(&format!("chaos_bumps: {} bumps, {} turns of {WORKERS} workers: {audit}", bumps.len(), turns.len()));
}

/// Pushes every version; returns their digests.
async fn push_versions(site: &StreamSite) -> BTreeMap<String, String> {
    let catalog = Catalog::create(site.client.clone()).await.expect("the catalog");
    let mut digests = BTreeMap::from([(FIRST.to_owned(), site.first.clone())]);
    for version in (0..VERSIONS).map(version) {
        let digest = push(&catalog, &version, false).await;
        digests.insert(version, digest);
    }
    digests
}

fn version(at: usize) -> String {
    format!("2.0.{}", at % VERSIONS)
}

/// Puts a version every 100 ms, and kills a worker now and then; returns the number of puts.
async fn bump(models: &Store, workers: &mut Workers, random: &mut Random) -> usize {
    let bumps = (long_size(LOAD / 2, LOAD, LONG_LOAD).as_millis() / BETWEEN_BUMPS.as_millis()) as usize;
    let mut due = interval(BETWEEN_BUMPS);
    for at in 0..bumps {
        due.tick().await;
        models.put(SENSOR, version(at).into()).await.expect("a revision");
        if at % BUMPS_PER_KILL == BUMPS_PER_KILL - 1 {
            let unlucky = random.below(WORKERS);
            workers.kill(unlucky);
            workers.revive(unlucky);
        }
    }
    bumps
}

/// Every put since the first, with the server's time of it.
async fn recorded(mut watch: Watch, bumps: usize) -> Vec<Bump> {
    let mut recorded = Vec::new();
    while recorded.last().is_none_or(|bump: &Bump| bump.version != version(bumps - 1)) || recorded.len() <= bumps {
        let entry = timeout(inferbus_tests::PATIENCE, watch.next()).await.expect("every put is seen");
        let entry = entry.expect("the watch continues").expect("an entry");
        let version = String::from_utf8(entry.value.to_vec()).expect("UTF-8");
        let version = serde_json::from_str(&version)
            .map_or(version, |pointer: Value| pointer["version"].as_str().expect("a version").into());
        recorded.push(Bump { version, put: entry.created.unix_timestamp_nanos() });
    }
    recorded
}

/// The turns in each worker's log, until its kill.
fn turns(bumps: &[Bump], logs: &[Vec<Value>]) -> Vec<Turn> {
    let mut turns = Vec::new();
    for log in logs {
        let served = log.iter().filter(|line| line["message"] == "in service").collect::<Vec<_>>();
        for (at, line) in served.iter().enumerate() {
            let version = line["version"].as_str().expect("a version").to_owned();
            let said = time(line);
            let asked =
                bumps.iter().filter(|bump| bump.version == version && bump.put <= said).map(|bump| bump.put).max();
            let until = served.get(at + 1).map_or(i128::MAX, |next| time(next));
            turns.push(Turn { version, from: asked.expect("a version that was asked for"), until });
        }
    }
    turns
}

fn time(line: &Value) -> i128 {
    let text = line["timestamp"].as_str().expect("a timestamp");
    parse_rfc3339(text).expect("a time").unix_timestamp_nanos()
}

/// Whether some worker may have been on the result's version while its message was stored and had no result.
fn was_active(
    result: &Stored,
    inputs: &BTreeMap<u64, i128>,
    turns: &[Turn],
    digests: &BTreeMap<String, String>,
) -> bool {
    let version = result.header("Inferbus-Version");
    let stored = result.number("Inferbus-Sequence").and_then(|sequence| inputs.get(&sequence)).copied();
    let fits = |turn: &Turn| {
        turn.version == version && turn.from <= result.time && stored.is_some_and(|stored| stored <= turn.until)
    };
    digests.get(version).is_some_and(|digest| digest == result.header("Inferbus-Digest")) && turns.iter().any(fits)
}
