//! Workers that lose their server, or each other's sight of time: nothing is lost, and what comes late does not come twice.

use std::time::Duration;

use async_nats::jetstream::stream;
use inferbus::stream::names::DEAD_LETTERS;
use inferbus_testkit::breadth::long_size;
use inferbus_tests::crew::serves;
use inferbus_tests::ledger::RESULTS;
use inferbus_tests::proxy::Proxy;
use inferbus_tests::stage::Stage;
use inferbus_tests::{Worker, WorkerOptions, say, until_async};
use tokio::task::block_in_place;
use tokio::time::sleep;

const PER_SECOND: u32 = 100;
const ROUTE: [&str; 4] = ["--ack-wait", "2s", "--deliveries", "1000"];

const CUT: Duration = Duration::from_secs(5);
const PARTITION: Duration = Duration::from_secs(30);

/// Long enough that the worker behind the proxy always has messages in hand.
const SLOW: Duration = Duration::from_millis(20);

/// A worker that reaches its server only through a proxy.
struct Behind {
    stage: Stage,
    proxy: Proxy,
    worker: Worker,
}

impl Behind {
    async fn start() -> Self {
        Self::on(Stage::single(&ROUTE).await).await
    }

    async fn on(mut stage: Stage) -> Self {
        let proxy = Proxy::start(stage.cluster.node(0).ports.client).await;
        let worker = worker(&proxy.url(), "behind");
        Self { stage, proxy, worker }
    }

    /// Messages that the server has delivered to this worker, so that it finishes some.
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
    let load = behind.stage.ledger.load(PER_SECOND);
    for _ in 0..long_size(1, 2, 20) {
        behind.finishes_some().await;
        behind.proxy.cut();
        sleep(CUT).await;
        behind.proxy.heal();
    }
    behind.finishes_some().await;
    load.end().await;
    let account = behind.stage.ledger.account().await.is_sound();
    say(&format!("chaos_network: cut for {CUT:?}: {account}"));
}

/// One worker is partitioned while another is not, which gets what the first one does not finish.
async fn partition(what: &str, stall: fn(&Proxy)) {
    let behind = Behind::start().await;
    let other = worker(&behind.stage.url(), "other");
    let load = behind.stage.ledger.load(PER_SECOND);
    let mut partitions = 0;
    // A partition between two requests for messages finds nothing in the worker's hands, and is no test yet.
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
    let account = behind.stage.ledger.account().await.is_sound();
    assert!(redelivered(&other) > 0.0, "the other worker takes over what the partitioned one held");
    say(&format!("chaos_network: {what} for {PARTITION:?}: {account}"));
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
    let other = worker(&behind.stage.url(), "other");
    let load = behind.stage.ledger.load(PER_SECOND);
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
    let account = behind.stage.ledger.account().await.is_sound();
    say(&format!("chaos_network: frozen past the ack wait: {account}"));
}

/// For how long the server knows of a result that it has it, and longer.
const REMEMBERED: Duration = Duration::from_secs(40);
const FORGOTTEN: Duration = Duration::from_secs(50);

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_frozen_until_the_server_has_forgotten_what_another_did() {
    let stage = Stage::single(&ROUTE).await;
    remembers_for(&stage, REMEMBERED).await;
    let behind = Behind::on(stage).await;
    let other = worker(&behind.stage.url(), "other");
    behind.proxy.delay(SLOW);
    let load = behind.stage.ledger.load(PER_SECOND);
    behind.finishes_some().await;
    behind.worker.freeze();
    sleep(FORGOTTEN).await;
    behind.worker.thaw();
    behind.finishes_some().await;
    load.end().await;
    let account = behind.stage.ledger.account().await.is_sound();
    assert!(redelivered(&other) > 0.0, "the other worker takes over what the frozen one held");
    say(&format!("chaos_network: frozen for {FORGOTTEN:?}: {account}"));
}

/// Sets the duplicate window of results and dead letters.
async fn remembers_for(stage: &Stage, window: Duration) {
    let context = stage.ledger.context();
    for name in [RESULTS, DEAD_LETTERS] {
        let stream = context.get_stream(name).await.expect("the stream");
        let config = stream::Config { duplicate_window: window, ..stream.cached_info().config.clone() };
        context.update_stream(config).await.expect("another window");
    }
}
