//! Workers without their server, or without a view of each other's progress: no message is lost, and late results are
//! not doubled.

use std::time::Duration;

use async_nats::jetstream::stream;
use inferbus::stream::names::DEAD_LETTERS;
use inferbus_testkit::breadth::long_size;
use inferbus_tests::proxy::Proxy;
use inferbus_tests::publisher::RESULTS;
use inferbus_tests::stream_site::StreamSite;
use inferbus_tests::workers::serves;
use inferbus_tests::{Worker, WorkerOptions, say, until_async};
use tokio::task::block_in_place;
use tokio::time::sleep;

const PER_SECOND: u32 = 100;
const ROUTE: [&str; 4] = ["--ack-wait", "2s", "--max-deliveries", "1000"];

const CUT: Duration = Duration::from_secs(5);
const PARTITION: Duration = Duration::from_secs(30);

/// Long enough for the worker behind the proxy to always have messages in flight.
const SLOW: Duration = Duration::from_millis(20);

/// A worker with a proxy as its only way to the server.
struct Behind {
    site: StreamSite,
    proxy: Proxy,
    worker: Worker,
}

impl Behind {
    async fn start() -> Self {
        Self::on(StreamSite::single(&ROUTE).await).await
    }

    async fn on(mut site: StreamSite) -> Self {
        let proxy = Proxy::start(site.cluster.node(0).ports.client).await;
        let worker = worker(&proxy.url(), "behind");
        Self { site, proxy, worker }
    }

    /// Waits until the worker behind the proxy has finished more messages.
    async fn finishes_some(&self) {
        let before = self.done();
        until_async("the worker behind the proxy finishes messages", async || self.done() > before).await;
    }

    fn done(&self) -> f64 {
        block_in_place(|| self.worker.metric("inferbus_stream_messages_total"))
    }
}

fn worker(url: &str, name: &str) -> Worker {
    let options = WorkerOptions { name: Some(name.into()), ..WorkerOptions::default() };
    let worker = block_in_place(|| Worker::spawn(url, options));
    serves(&worker);
    worker
}

fn redelivered(worker: &Worker) -> f64 {
    block_in_place(|| worker.metric("inferbus_stream_redelivered_total"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_connection_is_cut() {
    let behind = Behind::start().await;
    let load = behind.site.publisher.load(PER_SECOND);
    for _ in 0..long_size(1, 2, 20) {
        behind.finishes_some().await;
        behind.proxy.cut();
        sleep(CUT).await;
        behind.proxy.heal();
    }
    behind.finishes_some().await;
    load.end().await;
    let audit = behind.site.publisher.audit().await.is_sound();
    say(&format!("chaos_network: cut for {CUT:?}: {audit}"));
}

/// One worker is partitioned, another is not; the other one gets the unfinished messages of the first.
async fn partition(what: &str, stall: fn(&Proxy)) {
    let behind = Behind::start().await;
    let other = worker(&behind.site.url(), "other");
    let load = behind.site.publisher.load(PER_SECOND);
    let mut partitions = 0;
    // A partition between two pulls finds no message in flight, and proves nothing yet.
    while partitions < long_size(1, 1, 10) || (redelivered(&other) == 0.0 && partitions < long_size(5, 5, 10)) {
        behind.proxy.delay(SLOW);
        behind.finishes_some().await;
        stall(&behind.proxy);
        sleep(PARTITION).await;
        behind.proxy.heal();
        behind.finishes_some().await;
        partitions += 1;
    }
    load.end().await;
    let audit = behind.site.publisher.audit().await.is_sound();
    assert!(redelivered(&other) > 0.0, "the other worker takes over the messages of the partitioned one");
    say(&format!("chaos_network: {what} for {PARTITION:?}: {audit}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_the_server() {
    partition("nothing goes up", Proxy::stall_up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_reaches_the_worker() {
    partition("nothing comes down", Proxy::stall_down).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_frozen_past_its_ack_wait() {
    let behind = Behind::start().await;
    let other = worker(&behind.site.url(), "other");
    let load = behind.site.publisher.load(PER_SECOND);
    for _ in 0..long_size(3, 5, 100) {
        behind.proxy.delay(SLOW);
        behind.finishes_some().await;
        let before = redelivered(&other);
        behind.worker.freeze();
        until_async("the other worker takes over", async || redelivered(&other) > before).await;
        behind.worker.thaw();
        behind.finishes_some().await;
    }
    load.end().await;
    let audit = behind.site.publisher.audit().await.is_sound();
    say(&format!("chaos_network: frozen past the ack wait: {audit}"));
}

/// The duplicate window of the server, and a longer time.
const REMEMBERED: Duration = Duration::from_secs(40);
const FORGOTTEN: Duration = Duration::from_secs(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_frozen_until_the_server_has_forgotten_what_another_did() {
    let site = StreamSite::single(&ROUTE).await;
    remembers_for(&site, REMEMBERED).await;
    let behind = Behind::on(site).await;
    let other = worker(&behind.site.url(), "other");
    behind.proxy.delay(SLOW);
    let load = behind.site.publisher.load(PER_SECOND);
    behind.finishes_some().await;
    behind.worker.freeze();
    sleep(FORGOTTEN).await;
    behind.worker.thaw();
    behind.finishes_some().await;
    load.end().await;
    let audit = behind.site.publisher.audit().await.is_sound();
    assert!(redelivered(&other) > 0.0, "the other worker takes over the messages of the frozen one");
    say(&format!("chaos_network: frozen for {FORGOTTEN:?}: {audit}"));
}

/// Sets the duplicate window of results and dead letters.
async fn remembers_for(site: &StreamSite, window: Duration) {
    let context = site.publisher.context();
    for name in [RESULTS, DEAD_LETTERS] {
        let stream = context.get_stream(name).await.expect("the stream");
        let config = stream::Config { duplicate_window: window, ..stream.cached_info().config.clone() };
        context.update_stream(config).await.expect("another window");
    }
}
