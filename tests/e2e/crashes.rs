//! Workers crashing in native code: the next process identifies the message or the version, and serves the rest.

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::{Request, jetstream};
use inferbus_catalog::RouteName;
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, SECOND, Site, Worker, WorkerOptions, ask, until};
use tokio::task::block_in_place;

/// A worker with a crash after the model, for each message beginning with `begins`.
fn fragile(site: &Site, state: &Path, begins: &str) -> Worker {
    let environment = [
        ("INFERBUS_FAILPOINT".to_owned(), format!("model_done:payload={begins}")),
        ("INFERBUS_CRASH_JOURNAL".to_owned(), state.display().to_string()),
    ];
    Worker::spawn(site.url(), WorkerOptions { environment: environment.into(), ..Default::default() })
}

async fn route(site: &Site, model: &str) {
    let subject = format!("{model}.in");
    let output = format!("{model}.out");
    let arguments = [
        "route",
        "add",
        "--stream",
        model,
        "--subject",
        &subject,
        "--model",
        model,
        "--output",
        &output,
        "--name",
        model,
        "--ack-wait",
        "1s",
    ];
    block_in_place(|| site.inferbus(&arguments).ok());
}

async fn publish(site: &Site, model: &str, numbers: impl IntoIterator<Item = u8>) {
    let jetstream = jetstream::new(site.client.clone());
    for number in numbers {
        let sent = jetstream.publish(format!("{model}.in"), vec![number; 16].into()).await.expect("sent");
        sent.await.expect("stored");
    }
}

async fn results(site: &Site, model: &str) -> u64 {
    let route: RouteName = model.parse().expect("a name");
    let stream = format!("INFERBUS_RESULTS_{route}");
    let stream = jetstream::new(site.client.clone()).get_stream(stream).await.expect("results");
    stream.cached_info().state.messages
}

/// Restarts a crashing worker until `settled`. Returns the last worker, and the number of crashes.
async fn survivors(site: &Site, state: &Path, begins: &str, settled: impl AsyncFn(&Site) -> bool) -> (Worker, usize) {
    const TRIES: usize = 8;
    for deaths in 0..TRIES {
        let mut worker = block_in_place(|| fragile(site, state, begins));
        let deadline = Instant::now() + PATIENCE;
        while worker.is_running() {
            if settled(site).await {
                return (worker, deaths);
            }
            assert!(Instant::now() < deadline, "neither settled nor dead; its log:\n{}", worker.log_text());
        }
    }
    panic!("{TRIES} workers died and the next would");
}

async fn unsettled(site: &Site, model: &str) -> u64 {
    let stream = jetstream::new(site.client.clone()).get_stream(model).await.expect("the stream");
    let consumer = stream.consumer_info(&format!("inferbus-{model}")).await.expect("the consumer");
    consumer.num_pending + consumer.num_ack_pending as u64
}

async fn dead_letters(site: &Site) -> Vec<(String, u8)> {
    let stream = jetstream::new(site.client.clone()).get_stream("INFERBUS_DLQ").await.expect("dead letters");
    let mut letters = Vec::new();
    for sequence in 1..=stream.cached_info().state.last_sequence {
        let letter = stream.get_raw_message(sequence).await.expect("a dead letter");
        let reason = letter.headers.get("Inferbus-Reason").expect("a reason").to_string();
        letters.push((reason, letter.payload[0]));
    }
    letters
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_worker_becomes_a_dead_letter() {
    one_killer_among_forty(&BundleFolder::sensor("sensor", FIRST)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_worker_is_found_among_those_that_shared_its_run() {
    one_killer_among_forty(&BundleFolder::sensor("sensor", FIRST).table("[engine]\nbatch = { max = 8 }")).await;
}

async fn one_killer_among_forty(bundle: &BundleFolder) {
    let (site, state) = (Site::start().await, tempfile::tempdir().expect("a folder"));
    site.activate(bundle).await;
    route(&site, "sensor").await;
    publish(&site, "sensor", (0..20).chain([0xee]).chain(20..40)).await;
    let done = async |site: &Site| unsettled(site, "sensor").await == 0;
    let (worker, deaths) = survivors(&site, state.path(), "ee", done).await;
    assert!((2..=3).contains(&deaths), "{deaths} deaths");
    assert_eq!(dead_letters(&site).await, [("crashed".to_owned(), 0xee)]);
    assert_eq!(results(&site, "sensor").await, 40);
    block_in_place(|| {
        assert_eq!(worker.get("/readyz").0, 200);
        assert_eq!(worker.stop(), Some(0));
    });
    let left: Vec<_> =
        std::fs::read_dir(state.path()).expect("the folder").map(|entry| entry.expect("a file").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".journal")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_kills_its_worker_is_set_aside_and_the_rest_is_served() {
    let (site, state) = (Site::start().await, tempfile::tempdir().expect("a folder"));
    site.activate(&BundleFolder::sensor("deadly", FIRST)).await;
    // Another limit gives another digest.
    site.activate(&BundleFolder::sensor("sensor", FIRST).table("[limits]\ntime = \"1s\"")).await;
    route(&site, "deadly").await;
    // Every one of them kills.
    publish(&site, "deadly", [0xee; 10]).await;
    // A request in a crashing worker is not answered. A wrong length never reaches the model, so it exonerates no
    // message.
    let answer = async |site: &Site, model: &str, len| {
        let request = Request::new().payload(vec![1; len].into()).timeout(Some(Duration::from_secs(1)));
        let reply = site.client.send_request(format!("infer.{model}"), request).await.ok()?;
        let error = reply.headers.and_then(|headers| Some(headers.get("Nats-Service-Error")?.to_string()));
        Some(error.unwrap_or_default())
    };
    let served = async |site: &Site| {
        let set_aside = answer(site, "deadly", 5).await.is_some_and(|error| error.contains("quarantine"));
        set_aside && answer(site, "sensor", 16).await.is_some_and(|error| error.is_empty())
    };
    let (worker, deaths) = survivors(&site, state.path(), "ee", served).await;
    // As many as it takes until no single message was there at every one of them.
    assert!((3..=5).contains(&deaths), "{deaths} deaths");
    assert_eq!(ask(&site.client, "infer.sensor", vec![1; 16].into()).await.payload, vec![1; 16]);
    assert_eq!(dead_letters(&site).await, [], "the messages are not at fault");
    block_in_place(|| {
        let (code, why) = worker.get("/readyz");
        assert!(code == 503 && why.contains("is in quarantine: it killed this worker"), "{why}");
    });
    // Other bytes have another digest, and the messages were only suspect.
    site.activate(&BundleFolder::sensor("deadly", SECOND).table("[limits]\ntime = \"2s\"")).await;
    drop(worker);
    let healthy = WorkerOptions {
        environment: vec![("INFERBUS_CRASH_JOURNAL".into(), state.path().display().to_string())],
        ..Default::default()
    };
    let worker = block_in_place(|| Worker::start_with(site.url(), healthy));
    block_in_place(|| {
        until("all have results", || {
            worker.metric("inferbus_stream_messages_total{route=\"deadly\",end=\"result\"") == 10.0
        })
    });
    assert_eq!(results(&site, "deadly").await, 10);
}
