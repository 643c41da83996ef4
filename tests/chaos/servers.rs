//! Servers killed and restarted under load: no message is lost or doubled, and work resumes without help.

use std::time::{Duration, UNIX_EPOCH};

use inferbus_testkit::breadth::long_size;
use inferbus_tests::publisher::INPUT;
use inferbus_tests::stored::Stored;
use inferbus_tests::stream_site::StreamSite;
use inferbus_tests::workers::Workers;
use inferbus_tests::{WorkerOptions, say};
use tokio::time::{MissedTickBehavior, interval};

const PER_SECOND: u32 = 100;
const WORKERS: usize = 2;

/// Between two faults. Also how long the load runs before the first and after the last.
const BETWEEN: Duration = Duration::from_secs(5);
const LONG_BETWEEN: Duration = Duration::from_secs(10);

/// Faults in one run.
const FAULTS: usize = 3;
const LONG_FAULTS: usize = 60;

const ROUTE: [&str; 4] = ["--ack-wait", "2s", "--max-deliveries", "1000"];

/// The beginning of a fault in nanoseconds since 1970, like the server's timestamps.
fn now() -> i128 {
    UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos() as i128
}

/// Repeats a fault of the servers under load, and audits the route.
async fn under_load(what: &str, mut site: StreamSite, faults: usize, mut fault: impl AsyncFnMut(&mut StreamSite)) {
    let _crew = Workers::start(&site.url(), WORKERS, WorkerOptions::default());
    let load = site.publisher.load(PER_SECOND);
    let mut due = interval(long_size(BETWEEN, BETWEEN, LONG_BETWEEN));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due.tick().await;
    let mut begun = Vec::new();
    for _ in 0..faults {
        due.tick().await;
        begun.push(now());
        fault(&mut site).await;
    }
    due.tick().await;
    begun.push(now());
    load.end().await;
    site.publisher.settle().await;
    let records = site.publisher.records().await;
    let audit = records.audit().is_sound();
    let (inputs, results) = (silences(&records.inputs, &begun), silences(&records.results, &begun));
    say(&format!(
        "chaos_servers: {what}: longest time without a result after each: {results:.1?}, \
         without a stored message: {inputs:.1?}; {audit}"
    ));
}

/// After each moment but the last: the longest gap between stored messages, if it began before the next moment.
fn silences(stored: &[Stored], moments: &[i128]) -> Vec<Duration> {
    let longest = |after: i128, before: i128| {
        let pairs = stored.windows(2).map(|pair| (pair[0].time, pair[1].time));
        let gaps = pairs.filter(|(from, to)| *to > after && *from < before).map(|(from, to)| to - from.max(after));
        Duration::from_nanos(gaps.max().unwrap_or_default() as u64)
    };
    moments.windows(2).map(|pair| longest(pair[0], pair[1])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_server_is_killed_and_starts_again() {
    let site = StreamSite::single(&ROUTE).await;
    under_load("server killed", site, long_size(2, FAULTS, LONG_FAULTS), async |site| {
        site.cluster.kill(0);
        site.cluster.start(0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_three_is_killed() {
    let site = StreamSite::three(&ROUTE).await;
    under_load("leader killed", site, long_size(2, FAULTS, LONG_FAULTS), async |site| {
        let leader = site.cluster.leader(&site.client, INPUT).await;
        let before = site.publisher.result_count().await;
        site.cluster.kill(leader);
        site.publisher.results_beyond(before).await;
        site.cluster.start(leader).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_are_restarted_one_after_the_other() {
    let site = StreamSite::three(&ROUTE).await;
    under_load("rolling restart", site, long_size(1, 1, LONG_FAULTS / 3), async |site| {
        site.cluster.rolling_restart().await;
    })
    .await;
}
