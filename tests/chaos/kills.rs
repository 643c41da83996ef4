//! Workers killed at every step of a message and at random: no message is lost or doubled.

use std::time::Duration;

use inferbus_catalog::Catalog;
use inferbus_testkit::breadth::{long_size, size};
use inferbus_testkit::random::Random;
use inferbus_tests::plugin::{MORE, error, sensor_pre};
use inferbus_tests::sensor_bundle::SENSOR;
use inferbus_tests::stream_site::{StreamSite, push_folder};
use inferbus_tests::workers::{Workers, serves};
use inferbus_tests::{BundleFolder, SECOND, Worker, WorkerOptions, say};
use tokio::task::block_in_place;

/// Deaths at each step; a multiple of `PLACES`.
const FEW_KILLS: u64 = 6;
const KILLS: u64 = 20;
const LONG_KILLS: u64 = 1000;

/// The first of the places of death. The places alternate, because events and results do.
const FATAL: u64 = 5;
const PLACES: u64 = 3;

/// Redelivery after a kill is quick, and a message is retried after any number of kills.
const ROUTE: [&str; 4] = ["--ack-wait", "1s", "--max-deliveries", "1000"];

/// Runs a worker until it reaches a step for the n-th time.
fn dies_at(site: &StreamSite, point: &str, n: u64) {
    let environment = vec![("INFERBUS_FAILPOINT".into(), format!("{point}:{n}"))];
    let options = WorkerOptions { environment, ..WorkerOptions::default() };
    let code = block_in_place(|| Worker::spawn(&site.url(), options).end());
    assert_eq!(code, None, "a signal ended the worker");
}

/// Kills workers at a step, one after another; then a last worker does the rest.
async fn kills_at(point: &str) {
    let site = StreamSite::single(&ROUTE).await;
    let kills = long_size(FEW_KILLS, KILLS, LONG_KILLS);
    // Enough for each worker to reach its fatal message, with some left after the last kill.
    site.publisher.publish(kills * (FATAL + PLACES)).await;
    for kill in 0..kills {
        dies_at(&site, point, FATAL + kill % PLACES);
    }
    let worker = block_in_place(|| Worker::spawn(&site.url(), WorkerOptions::default()));
    serves(&worker);
    let audit = site.publisher.audit().await.is_sound();
    say(&format!("chaos_kills: {kills} kills at `{point}`: {audit}"));
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

/// A version of the sensor's bundle with a refusal for every message.
fn refusing() -> BundleFolder {
    const REFUSAL: &[u8] = b"never again";
    let refuse = format!("(if (i32.const 1) (then (return (i64.const {}))))", error(MORE, REFUSAL.len() as u32));
    BundleFolder::new(SENSOR, SECOND).plugin("pre", &sensor_pre("", REFUSAL, &refuse), "")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_is_stored_is_not_followed_by_a_dead_letter() {
    let site = StreamSite::single(&ROUTE).await;
    site.publisher.publish(1).await;
    // The event is the first to be confirmed.
    dies_at(&site, "confirmed", 2);
    let catalog = Catalog::create(site.client.clone()).await.expect("the catalog");
    push_folder(&catalog, &refusing(), true).await;
    let worker = block_in_place(|| Worker::spawn(&site.url(), WorkerOptions::default()));
    serves(&worker);
    assert_eq!(site.publisher.audit().await.is_sound().results, 1);
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
        let site = StreamSite::single(&ROUTE).await;
        let mut workers = Workers::start(&site.url(), WORKERS, WorkerOptions::default());
        let load = site.publisher.load(PER_SECOND);
        let mut kills = tokio::time::interval(BETWEEN_KILLS);
        for _ in 0..size(FEW_LOAD, LOAD).as_secs() / BETWEEN_KILLS.as_secs() {
            kills.tick().await;
            let unlucky = random.below(WORKERS);
            workers.kill(unlucky);
            workers.revive(unlucky);
        }
        kills.tick().await;
        load.end().await;
        let audit = site.publisher.audit().await.is_sound();
        say(&format!("chaos_kills: {PER_SECOND} messages/s and a kill every {BETWEEN_KILLS:?}: {audit}"));
    }
}
