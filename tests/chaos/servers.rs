//! Servers that are killed and restarted under load: nothing is lost, nothing comes twice, and work goes on by itself.

use std::time::{Duration, UNIX_EPOCH};

use inferbus_testkit::breadth::long_size;
use inferbus_tests::contents::Kept;
use inferbus_tests::crew::Crew;
use inferbus_tests::ledger::INPUT;
use inferbus_tests::stage::Stage;
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

const ROUTE: [&str; 4] = ["--ack-wait", "2s", "--deliveries", "1000"];

/// When a fault began, in nanoseconds since 1970, as the server stamps what it stores.
fn now() -> i128 {
    UNIX_EPOCH.elapsed().expect("a clock after 1970").as_nanos() as i128
}

/// Does something to the servers again and again under load, and settles the account.
async fn under_load(what: &str, mut stage: Stage, faults: usize, mut fault: impl AsyncFnMut(&mut Stage)) {
    let _crew = Crew::start(&stage.url(), WORKERS, WorkerOptions::default());
    let load = stage.ledger.load(PER_SECOND);
    let mut due = interval(long_size(BETWEEN, BETWEEN, LONG_BETWEEN));
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    due.tick().await;
    let mut begun = Vec::new();
    for _ in 0..faults {
        due.tick().await;
        begun.push(now());
        fault(&mut stage).await;
    }
    due.tick().await;
    begun.push(now());
    load.end().await;
    stage.ledger.settle().await;
    let books = stage.ledger.books().await;
    let account = books.account().is_sound();
    let (inputs, results) = (silences(&books.inputs, &begun), silences(&books.results, &begun));
    say(&format!(
        "chaos_servers: {what}: longest time without a result after each: {results:.1?}, without a stored message: {inputs:.1?}; {account}"
    ));
}

/// After each moment but the last, the longest time in which nothing was stored that began before the next one.
fn silences(stored: &[Kept], moments: &[i128]) -> Vec<Duration> {
    let longest = |after: i128, before: i128| {
        let pairs = stored.windows(2).map(|pair| (pair[0].time, pair[1].time));
        let gaps = pairs.filter(|(from, to)| *to > after && *from < before).map(|(from, to)| to - from.max(after));
        Duration::from_nanos(gaps.max().unwrap_or_default() as u64)
    };
    moments.windows(2).map(|pair| longest(pair[0], pair[1])).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_server_is_killed_and_starts_again() {
    let stage = Stage::single(&ROUTE).await;
    under_load("server killed", stage, long_size(2, FAULTS, LONG_FAULTS), async |stage| {
        stage.cluster.kill(0);
        stage.cluster.start(0).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_of_three_is_killed() {
    let stage = Stage::three(&ROUTE).await;
    under_load("leader killed", stage, long_size(2, FAULTS, LONG_FAULTS), async |stage| {
        let leader = stage.cluster.leader(&stage.client, INPUT).await;
        let before = stage.ledger.result_count().await;
        stage.cluster.kill(leader);
        stage.ledger.results_beyond(before).await;
        stage.cluster.start(leader).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_are_restarted_one_after_the_other() {
    let stage = Stage::three(&ROUTE).await;
    under_load("rolling restart", stage, long_size(1, 1, LONG_FAULTS / 3), async |stage| {
        stage.cluster.rolling_restart().await;
    })
    .await;
}
