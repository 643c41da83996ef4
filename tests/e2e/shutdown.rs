//! Stops, and faults of a server with a running worker: no accepted message is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_nats::{Client, RequestErrorKind};
use futures_util::StreamExt as _;
use inferbus::dev_server::{DevServer, Settings};
use inferbus::nats::connect::{round_trip, unsubscribe};
use inferbus_catalog::Catalog;
use inferbus_tests::plugin::sensor_pre;
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, SECOND, Site, Worker, WorkerOptions, answer, ask, connect, until};
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

const IN_FLIGHT: usize = 64;

/// How often a worker is stopped while the others go on.
const STOPS: usize = 8;

/// Answers between two events, so that each event meets full load.
const BETWEEN: u64 = 1000;

/// A bundle with two seconds of work, and then code 504.
fn slow() -> BundleFolder {
    let never_ends = sensor_pre("", b"", "(loop (br 0))");
    BundleFolder::new("slow", FIRST).plugin("pre", &never_ends, "").table("[limits]\ntime = \"2s\"")
}

/// Requests in flight all the time; each must get its own bytes back.
struct Load {
    stop: Arc<AtomicBool>,
    answered: watch::Sender<u64>,
    senders: JoinSet<Vec<String>>,
}

impl Load {
    fn start(site: &Site) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), watch::Sender::new(0));
        let mut senders = JoinSet::new();
        for sender in 0..IN_FLIGHT as u64 {
            let (client, stop, answered) = (site.client.clone(), stop.clone(), answered.clone());
            senders.spawn(async move {
                let mut lost = Vec::new();
                for number in 0_u64.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let payload = [sender.to_le_bytes(), number.to_le_bytes()].concat();
                    match client.request("infer.sensor", payload.clone().into()).await.map(answer) {
                        Ok(reply) if reply.code.is_none() && reply.payload == payload => {
                            answered.send_modify(|count| *count += 1)
                        }
                        Ok(reply) => lost.push(format!("{:?} {}", reply.code, reply.error)),
                        Err(fault) => lost.push(fault.to_string()),
                    }
                }
                lost
            });
        }
        Self { stop, answered, senders }
    }

    /// Waits for `count` more answers.
    async fn more(&self, count: u64) {
        let mut answered = self.answered.subscribe();
        let target = *answered.borrow() + count;
        let waited = tokio::time::timeout(PATIENCE, answered.wait_for(|answered| *answered >= target)).await;
        assert!(waited.is_ok(), "the answers dried up");
    }

    /// The wrong answers.
    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.senders.join_all().await.concat()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_answers_everything_that_it_took() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let mut staying = Worker::start(site.url());
    let load = Load::start(&site);
    for _ in 0..STOPS {
        let leaving = std::mem::replace(&mut staying, block_in_place(|| Worker::start(site.url())));
        load.more(BETWEEN).await;
        block_in_place(|| {
            for worker in [&leaving, &staying] {
                assert!(worker.metric("inferbus_messages_total{") > 0.0, "both are at work");
            }
            assert_eq!(leaving.stop(), Some(0));
        });
        load.more(BETWEEN).await;
    }
    assert_eq!(load.end().await, Vec::<String>::new());
}

/// A flood, so that messages are always in flight at the end of a subscription.
const FLOOD: u64 = 20_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_ends_loses_nothing_that_the_server_had_sent() {
    let site = Site::start().await;
    let (leaving, staying) = (connect(site.url()).await, connect(site.url()).await);
    for stop in 0..STOPS {
        let subject = format!("flood.{stop}");
        let mut first = leaving.queue_subscribe(subject.clone(), "flooded".into()).await.expect("a subscription");
        let second = staying.queue_subscribe(subject.clone(), "flooded".into()).await.expect("a subscription");
        for client in [&leaving, &staying] {
            assert!(round_trip(client, PATIENCE).await);
        }
        let flood = tokio::spawn(flood(site.client.clone(), subject.clone()));
        let mut taken = 0;
        while taken < FLOOD / 8 {
            first.next().await.expect("a message");
            taken += 1;
        }
        taken += unsubscribe(&leaving, first).await.count() as u64;
        flood.await.expect("all is published");
        taken += unsubscribe(&staying, second).await.count() as u64;
        assert_eq!(taken, FLOOD, "stop {stop}");
        let nobody = site.client.request(subject.clone(), "".into()).await.expect_err("no subscriber is left");
        assert_eq!(nobody.kind(), RequestErrorKind::NoResponders);
    }
}

async fn flood(client: Client, subject: String) {
    for _ in 0..FLOOD {
        client.publish(subject.clone(), vec![0; 16].into()).await.expect("published");
    }
    assert!(round_trip(&client, PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_in_hand_is_finished_before_the_worker_leaves() {
    let site = Site::start().await;
    site.activate(&slow()).await;
    let worker = Worker::start(site.url());
    let asked = tokio::spawn({
        let client = site.client.clone();
        async move { ask(&client, "infer.slow", vec![0; 16].into()).await }
    });
    block_in_place(|| {
        until("the message is in flight", || worker.metric("inferbus_in_flight_messages") == 1.0);
        assert_eq!(worker.stop(), Some(0));
    });
    assert_eq!(asked.await.expect("an answer").code, Some(504));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_the_worker_at_once() {
    let site = Site::start().await;
    site.activate(&slow()).await;
    let worker = Worker::start(site.url());
    site.client.publish("infer.slow", vec![0; 16].into()).await.expect("published");
    block_in_place(|| {
        until("the message is in flight", || worker.metric("inferbus_in_flight_messages") == 1.0);
        worker.terminate();
        worker.wait_for("worker stopping");
        assert_eq!(worker.stop(), Some(130));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_leaves_while_its_server_is_down() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let worker = Worker::start(site.url());
    site.server.stop().await;
    block_in_place(|| {
        worker.wait_for("connection to NATS lost");
        assert_eq!(worker.stop(), Some(0));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_sent_request_to_the_admin_address_does_not_hold_the_worker() {
    use std::io::Write as _;
    let site = Site::start().await;
    let worker = Worker::start(site.url());
    let mut held = std::net::TcpStream::connect(&worker.admin).expect("a connection");
    held.write_all(b"GET /metrics HTTP/1.1\r\nHost: ").expect("half a request");
    block_in_place(|| {
        // An answered request after it proves the acceptance of the half one.
        assert_eq!(worker.get("/healthz").0, 200);
        assert_eq!(worker.stop(), Some(0));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_started_before_its_server_serves_when_server_and_catalog_come() {
    let port = free_port();
    let url = format!("nats://127.0.0.1:{port}");
    let worker = Worker::spawn(&url, WorkerOptions::default());
    block_in_place(|| {
        assert_eq!(worker.get("/healthz").0, 200, "it lives");
        let (code, reason) = worker.get("/readyz");
        assert_eq!(code, 503, "{reason}");
        assert!(reason.contains("not connected"), "{reason}");
    });

    let server = DevServer::start(Settings { port, ..Settings::default() }).await.expect("a server");
    block_in_place(|| {
        worker.wait_until("that the catalog is missing", |line| {
            line["message"]
                .as_str()
                .is_some_and(|message| message.contains("waiting for the catalog") && message.contains("bucket"))
        });
        assert_eq!(worker.get("/readyz").0, 503, "connected, but without a catalog");
    });

    let client = connect(&url).await;
    let catalog = Catalog::create(client.clone()).await.expect("a catalog");
    block_in_place(|| {
        worker.wait_for("worker accepts requests");
        assert_eq!(worker.get("/readyz"), (200, "ready\n".into()));
    });
    let site = Site { server, client, catalog };
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    block_in_place(|| worker.wait_for("in service"));
    let payload = b"sixteen bytes :)";
    assert_eq!(ask(&site.client, "infer.sensor", payload.as_slice().into()).await.payload, payload.as_slice());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_serves_again_after_its_server_was_restarted() {
    let store = tempfile::tempdir().expect("a folder");
    let settings = Settings { port: free_port(), store: Some(store.path()), ..Settings::default() };
    let site = Site::start_with(settings).await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let worker = Worker::start(site.url());
    assert_eq!(ask(&site.client, "infer.sensor", vec![1; 16].into()).await.version, FIRST);

    site.server.stop().await;
    block_in_place(|| {
        worker.wait_for("connection to NATS lost");
        let (code, reason) = worker.get("/readyz");
        assert_eq!(code, 503, "{reason}");
        assert!(reason.contains("not connected"), "{reason}");
        assert_eq!(worker.get("/healthz").0, 200, "a restart would not help");
    });

    let site = Site::start_with(settings).await;
    block_in_place(|| {
        worker.wait_for("reconnected to NATS");
        until("the worker is ready again", || worker.get("/readyz").0 == 200);
    });
    served(&site).await;
    let mark = worker.log_len();
    site.activate(&BundleFolder::sensor("sensor", SECOND)).await;
    block_in_place(|| {
        worker.wait_until_after(mark, "that the new version serves", |line| {
            line["message"] == "in service" && line["version"] == SECOND
        })
    });
    assert_eq!(ask(&site.client, "infer.sensor", vec![2; 16].into()).await.version, SECOND);
}

/// Waits for a subscriber to the sensor's messages: the server reports missing ones at once.
async fn served(site: &Site) {
    let serving = async {
        while let Err(fault) = site.client.request("infer.sensor", vec![1; 16].into()).await {
            assert_eq!(fault.kind(), RequestErrorKind::NoResponders, "{fault}");
        }
    };
    tokio::time::timeout(PATIENCE, serving).await.expect("the worker serves again");
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}
