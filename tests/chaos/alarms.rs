//! Faults for an operator to repair: log and readiness state each one, the worker retries at a moderate pace, and
//! after the repair the route resumes with no message lost or doubled.

use std::time::Duration;

use async_nats::jetstream::stream;
use inferbus_catalog::Catalog;
use inferbus_tests::cluster::Cluster;
use inferbus_tests::node::NodeConfig;
use inferbus_tests::publisher::{INPUT, RESULTS, ROUTE};
use inferbus_tests::stream_site::{StreamSite, push};
use inferbus_tests::workers::serves;
use inferbus_tests::{SECOND, Worker, WorkerOptions, inferbus, say, until_async};
use tokio::task::block_in_place;
use tokio::time::sleep;

const FLAGS: [&str; 4] = ["--ack-wait", "1s", "--max-deliveries", "1000"];

/// How long a fault lasts once it has been noticed, and how many requests a worker may make of the server meanwhile.
const OUTAGE: Duration = Duration::from_secs(8);
const REQUESTS: u64 = 80;

/// Messages before a fault, and after.
const SOME: u64 = 32;

async fn site() -> StreamSite {
    StreamSite::single(&FLAGS).await
}

fn worker(site: &StreamSite) -> Worker {
    let worker = block_in_place(|| Worker::spawn(&site.url(), WorkerOptions::default()));
    serves(&worker);
    worker
}

/// Waits until the worker is not ready because of the route, with these words, and has logged them.
async fn alarmed(worker: &Worker, words: &str) {
    block_in_place(|| {
        worker.wait_until(words, |line| {
            let message = line["message"].as_str().unwrap_or_default();
            line["level"] == "ERROR" && message.contains("the route is not served") && message.contains(words)
        })
    });
    let start = format!("route {ROUTE}: ");
    readiness(worker, &format!("`{start}` and `{words}`"), |code, text| {
        code == 503 && text.contains(&start) && text.contains(words)
    })
    .await;
}

async fn ready(worker: &Worker) {
    readiness(worker, "that it is ready again", |code, _| code == 200).await;
}

async fn readiness(worker: &Worker, what: &str, fits: impl Fn(u16, &str) -> bool) {
    until_async(&format!("readiness says {what}"), async || {
        let (code, text) = block_in_place(|| worker.get("/readyz"));
        fits(code, &text)
    })
    .await;
}

/// Lets the fault last, and counts the worker's requests to the server.
async fn is_patient(site: &mut StreamSite) {
    let before = site.cluster.node(0).api_requests();
    sleep(OUTAGE).await;
    let requests = site.cluster.node(0).api_requests() - before;
    assert!(requests <= REQUESTS, "{requests} requests in {OUTAGE:?}");
    say(&format!("chaos_alarms: {requests} requests to JetStream in {OUTAGE:?} of trouble"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_is_deleted_and_made_again() {
    let mut site = site().await;
    let worker = worker(&site);
    site.publisher.publish(SOME).await;
    site.publisher.audit().await.is_sound();

    site.publisher.context().delete_stream(INPUT).await.expect("deleted");
    alarmed(&worker, "the stream SENSORS is gone").await;
    is_patient(&mut site).await;
    site.publisher.begin_anew();
    site.publisher.create_input(1).await;
    ready(&worker).await;

    site.publisher.publish(SOME).await;
    let audit = site.publisher.audit().await.is_sound();
    assert_eq!(audit.inputs as u64, SOME);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_consumer_is_deleted_and_the_route_mended() {
    let mut site = site().await;
    let worker = worker(&site);
    site.publisher.publish(SOME).await;
    site.publisher.audit().await.is_sound();

    let consumer = format!("inferbus-{ROUTE}");
    site.publisher.context().delete_consumer_from_stream(consumer, INPUT).await.expect("deleted");
    alarmed(&worker, "inferbus route repair").await;
    is_patient(&mut site).await;
    site.publisher.publish(SOME).await;
    let from = (SOME + 1).to_string();
    block_in_place(|| inferbus(&site.url(), &["route", "repair", ROUTE, "--start-at", &from])).ok();
    ready(&worker).await;

    let audit = site.publisher.audit().await.is_sound();
    assert_eq!(audit.inputs as u64, 2 * SOME);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_result_stream_is_deleted_and_the_route_mended() {
    let mut site = site().await;
    let worker = worker(&site);
    site.publisher.publish(SOME).await;
    site.publisher.audit().await.is_sound();

    site.publisher.context().delete_stream(RESULTS).await.expect("deleted");
    site.publisher.publish(SOME).await;
    alarmed(&worker, "").await;
    is_patient(&mut site).await;
    block_in_place(|| inferbus(&site.url(), &["route", "repair", ROUTE])).ok();
    ready(&worker).await;

    site.publisher.settle().await;
    let mut records = site.publisher.records().await;
    // The results of the first ones went with their stream.
    records.inputs.retain(|input| input.sequence > SOME);
    records.confirmed.retain(|sequence, _| *sequence > SOME);
    records.dead_letters.retain(|letter| letter.number("Inferbus-Sequence") > Some(SOME));
    records.audit().is_sound();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_catalog_is_lost_and_made_again() {
    let site = site().await;
    let worker = worker(&site);
    for bucket in ["KV_models", "KV_routes"] {
        site.publisher.context().delete_stream(bucket).await.expect("deleted");
    }
    site.publisher.publish(SOME).await;
    site.publisher.audit().await.is_sound();

    let catalog = Catalog::create(site.client.clone()).await.expect("a catalog");
    push(&catalog, SECOND, true).await;
    block_in_place(|| {
        site.add_route(&FLAGS);
        worker
            .wait_until("the new version serves", |line| line["message"] == "in service" && line["version"] == SECOND);
    });
    ready(&worker).await;
    site.publisher.publish(SOME).await;
    let audit = site.publisher.audit().await.is_sound();
    assert_eq!(audit.inputs as u64, 2 * SOME);
    let results = site.publisher.results().await;
    assert!(results.iter().any(|result| result.header("Inferbus-Version") == SECOND));
}

/// The capacity of the full server, and the size of the pieces filling it.
const FULL: &str = "max_file_store: 4MB";
const BALLAST: &str = "BALLAST";
const PIECE: usize = 4 << 10;

/// Stores until the server rejects a message.
async fn fill(site: &StreamSite) {
    let context = site.publisher.context();
    let config = stream::Config { name: BALLAST.into(), subjects: vec!["ballast".into()], ..stream::Config::default() };
    context.create_stream(config).await.expect("a stream");
    while let Ok(sent) = context.publish("ballast", vec![0; PIECE].into()).await {
        if sent.await.is_err() {
            return;
        }
    }
}

/// The server is full at the time of storing results, for longer or shorter than the messages' deadline.
async fn full_disk(deadline: &str) {
    let config = NodeConfig { jetstream: FULL.into(), ..NodeConfig::default() };
    let flags = [FLAGS.as_slice(), &["--deadline", deadline]].concat();
    let mut site = StreamSite::on(Cluster::single(&config).await, &flags).await;
    site.publisher.publish(SOME).await;
    fill(&site).await;
    let worker = worker(&site);
    alarmed(&worker, "").await;
    is_patient(&mut site).await;
    site.publisher.context().delete_stream(BALLAST).await.expect("deleted");
    ready(&worker).await;
    let audit = site.publisher.audit().await.is_sound();
    assert_eq!(audit.inputs as u64, SOME);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_full() {
    full_disk("300s").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_is_full_for_longer_than_a_message_may_take() {
    full_disk("3s").await;
}

/// The harness connects without a password.
fn users(password: &str) -> NodeConfig {
    let users = format!("[{{ user: harness, password: h }}, {{ user: worker, password: {password} }}]");
    NodeConfig { more: format!("authorization {{ users: {users} }}\nno_auth_user: harness"), ..NodeConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_are_revoked_and_given_back() {
    let mut site = StreamSite::on(Cluster::single(&users("right")).await, &FLAGS).await;
    let arguments = ["--user", "worker", "--password", "right"].map(str::to_owned).to_vec();
    let worker = block_in_place(|| Worker::spawn(&site.url(), WorkerOptions { arguments, ..WorkerOptions::default() }));
    serves(&worker);
    site.publisher.publish(SOME).await;
    site.publisher.audit().await.is_sound();

    site.cluster.node(0).configure(&users("other"));
    site.cluster.node(0).reload();
    readiness(&worker, "that it is not ready", |code, _| code == 503).await;
    let refusals = |site: &mut StreamSite| site.cluster.node(0).log_text().matches("authentication error").count();
    until_async("the worker tries again", async || refusals(&mut site) > 0).await;
    let before = refusals(&mut site);
    site.publisher.publish(SOME).await;
    sleep(OUTAGE).await;
    let attempts = refusals(&mut site) - before;
    assert!(attempts as u64 <= REQUESTS, "{attempts} attempts to connect in {OUTAGE:?}");
    say(&format!("chaos_alarms: {attempts} attempts to connect in {OUTAGE:?} without credentials"));
    let told = block_in_place(|| worker.log_text());
    assert!(told.to_lowercase().contains("authorization"), "the log has the reason: {told}");

    site.cluster.node(0).configure(&users("right"));
    site.cluster.node(0).reload();
    ready(&worker).await;
    let audit = site.publisher.audit().await.is_sound();
    assert_eq!(audit.inputs as u64, 2 * SOME);
}
