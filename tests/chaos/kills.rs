//! Workers that are killed, at every step of a message and at random: nothing is lost, and nothing comes twice.

use std::time::Duration;

use inferbus_catalog::Catalog;
use inferbus_testkit::breadth::{long_size, size};
use inferbus_testkit::random::Random;
use inferbus_tests::crew::{Crew, serves};
use inferbus_tests::plugin::{MORE, error, sensor_pre};
use inferbus_tests::sensor::SENSOR;
use inferbus_tests::stage::{Stage, push_folder};
use inferbus_tests::{BundleFolder, SECOND, Worker, WorkerOptions, say};
use tokio::task::block_in_place;

/// Deaths at each step; a multiple of `PLACES`.
const FEW_KILLS: u64 = 6;
const KILLS: u64 = 20;
const LONG_KILLS: u64 = 1000;

/// The first of the places at which a worker dies; they alternate, because events and results take turns.
const FATAL: u64 = 5;
const PLACES: u64 = 3;

/// What is delivered again after a kill comes soon, and however often a message is in hand when a worker dies, it is tried again.
const ROUTE: [&str; 4] = ["--ack-wait", "1s", "--deliveries", "1000"];

/// Has a worker work until the n-th time that it comes to a step.
fn dies_at(stage: &Stage, point: &str, n: u64) {
    let environment = vec![("INFERBUS_FAILPOINT".into(), format!("{point}:{n}"))];
    let options = WorkerOptions { environment, ..WorkerOptions::default() };
    let code = block_in_place(|| Worker::spawn(&stage.url(), options).end());
    assert_eq!(code, None, "a signal ended the worker");
}

/// Kills workers at a step, again and again, and then has one do the rest.
async fn kills_at(point: &str) {
    let stage = Stage::single(&ROUTE).await;
    let kills = long_size(FEW_KILLS, KILLS, LONG_KILLS);
    // Enough for each worker to meet its fatal message, and some that are left when the last one has been killed.
    stage.ledger.publish(kills * (FATAL + PLACES)).await;
    for kill in 0..kills {
        dies_at(&stage, point, FATAL + kill % PLACES);
    }
    let worker = block_in_place(|| Worker::spawn(&stage.url(), WorkerOptions::default()));
    serves(&worker);
    let account = stage.ledger.account().await.is_sound();
    say(&format!("chaos_kills: {kills} kills at `{point}`: {account}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_messages_are_fetched() {
    kills_at("fetched").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_pre_plugin() {
    kills_at("pre_done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_after_the_model() {
    kills_at("model_done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_result_is_sent() {
    kills_at("published").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_result_is_stored() {
    kills_at("confirmed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_when_the_ack_is_sent() {
    kills_at("acked").await;
}

/// A version of the sensor's bundle that refuses everything.
fn refusing() -> BundleFolder {
    const REFUSAL: &[u8] = b"never again";
    let refuse = format!("(if (i32.const 1) (then (return (i64.const {}))))", error(MORE, REFUSAL.len() as u32));
    BundleFolder::new(SENSOR, SECOND).plugin("pre", &sensor_pre("", REFUSAL, &refuse), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_stored_is_not_followed_by_a_dead_letter() {
    let stage = Stage::single(&ROUTE).await;
    stage.ledger.publish(1).await;
    // The event is the first to be confirmed.
    dies_at(&stage, "confirmed", 2);
    let catalog = Catalog::create(stage.client.clone()).await.expect("the catalog");
    push_folder(&catalog, &refusing(), true).await;
    let worker = block_in_place(|| Worker::spawn(&stage.url(), WorkerOptions::default()));
    serves(&worker);
    assert_eq!(stage.ledger.account().await.is_sound().results, 1);
}

const WORKERS: usize = 3;
const PER_SECOND: u32 = 200;
const FEW_LOAD: Duration = Duration::from_secs(20);
const LOAD: Duration = Duration::from_secs(60);
const BETWEEN_KILLS: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_under_load() {
    for run in 0..long_size(1, 1, 10) {
        let mut random = Random::of_run("chaos_kills", run);
        let stage = Stage::single(&ROUTE).await;
        let mut crew = Crew::start(&stage.url(), WORKERS, WorkerOptions::default());
        let load = stage.ledger.load(PER_SECOND);
        let mut kills = tokio::time::interval(BETWEEN_KILLS);
        for _ in 0..size(FEW_LOAD, LOAD).as_secs() / BETWEEN_KILLS.as_secs() {
            kills.tick().await;
            let unlucky = random.below(WORKERS);
            crew.kill(unlucky);
            crew.revive(unlucky);
        }
        kills.tick().await;
        load.end().await;
        let account = stage.ledger.account().await.is_sound();
        say(&format!("chaos_kills: {PER_SECOND} messages/s and a kill every {BETWEEN_KILLS:?}: {account}"));
    }
}
