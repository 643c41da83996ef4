//! Routes of mode `stream`: each stored message ends in one result, "no result", or one dead letter.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::HeaderMap;
use async_nats::jetstream;
use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy};
use inferbus::nats::connect::round_trip;
use inferbus_testkit::memory::resident;
use inferbus_tests::plugin::{sensor_post, sensor_pre};
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, Site, Worker, WorkerOptions, say, until};
use tokio::task::block_in_place;

/// A payload with a first byte of 255 is filtered, other lengths than 16 bytes are rejected, and others are returned.
fn sensor(version: &str) -> BundleFolder {
    let filter = "(if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const 255)) (then (return (i64.const 0))))";
    BundleFolder::new("sensor", version).plugin("pre", &sensor_pre("", b"", filter), "").plugin(
        "post",
        &sensor_post("", b"", ""),
        "",
    )
}

const ROUTE: [&str; 11] = [
    "route",
    "add",
    "--stream",
    "SENSORS",
    "--subject",
    "sensors.cam.*",
    "--model",
    "sensor",
    "--output",
    "inference.sensor.{{wildcard(1)}}",
    "--name=cams",
];

async fn publish(site: &Site, subject: &str, payload: Vec<u8>) -> u64 {
    site.store(subject, HeaderMap::new(), payload).await.0
}

/// Waits until every message of the route has ended.
fn idle(worker: &Worker, ended: f64) {
    until("every message has ended", || worker.metric("inferbus_stream_messages_total{") >= ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_one_end() {
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    let mut expected = BTreeMap::new();
    for number in 0_u8..60 {
        let payload = match number % 3 {
            0 => vec![number; 16],
            1 => vec![255; 16],
            _ => vec![number; 5],
        };
        expected.insert(publish(&site, &format!("sensors.cam.{number}"), payload.clone()).await, payload);
    }
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| idle(&worker, 60.0));

    let results = site.stored("INFERBUS_RESULTS_cams").await;
    assert_eq!(results.len(), 20);
    for result in &results {
        let sequence: u64 = result.header("Inferbus-Sequence").parse().expect("a sequence");
        assert_eq!(expected[&sequence], result.payload);
        assert_eq!(result.subject, format!("inference.sensor.{}", result.payload[0]));
        assert_eq!(result.header("Inferbus-Version"), FIRST);
        let id = result.header("Nats-Msg-Id");
        assert!(id.starts_with("SENSORS@") && id.ends_with(&format!("/{sequence}/cams")), "{id}");
    }
    let dead = site.stored("INFERBUS_DLQ").await;
    assert_eq!(dead.len(), 20);
    for letter in &dead {
        let sequence: u64 = letter.header("Inferbus-Sequence").parse().expect("a sequence");
        assert_eq!(letter.subject, format!("inferbus.dlq.cams.{sequence}"));
        assert_eq!(expected[&sequence], letter.payload);
        assert_eq!(letter.header("Inferbus-Reason"), "refused");
        assert_eq!(letter.header("Inferbus-Stage"), "pre");
        assert!(letter.header("Inferbus-Error").contains("the sensor sends 16 bytes"));
    }
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
    assert_eq!((consumer.num_pending, consumer.num_ack_pending, consumer.num_redelivered), (0, 0, 0));
    block_in_place(|| assert_eq!(worker.stop(), Some(0)));
}

/// A route with quick redelivery after a crash.
fn hasty(more: &[&str]) -> Vec<String> {
    ROUTE.iter().chain(&["--ack-wait", "1s"]).chain(more).map(ToString::to_string).collect()
}

fn add(site: &Site, arguments: &[String]) {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    block_in_place(|| site.inferbus(&arguments).ok());
}

fn numbered(number: u8) -> Vec<u8> {
    vec![number; 16]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_exists_and_does_not_fit_is_a_conflict_that_names_both() {
    let site = Site::start().await;
    let jetstream = jetstream::new(site.client.clone());
    let stream = |name: &str, subject: &str| Config {
        name: name.into(),
        subjects: vec![subject.into()],
        retention: RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    jetstream.create_stream(stream("SENSORS", "other.>")).await.expect("a stream");
    let refused = |words: [&str; 2]| {
        let ran = block_in_place(|| site.inferbus(&ROUTE));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {}", ran.stderr);
    };
    refused(["has subjects other.>", "needs sensors.cam.*"]);
    jetstream.delete_stream("SENSORS").await.expect("deleted");
    jetstream.create_stream(stream("INFERBUS_RESULTS_cams", "inference.>")).await.expect("a stream");
    refused(["has retention workqueue", "needs limits"]);
    jetstream.delete_stream("INFERBUS_RESULTS_cams").await.expect("deleted");
    assert!(site.catalog.routes().await.expect("routes").is_empty(), "a refused route is not followed");

    block_in_place(|| site.inferbus(&ROUTE).ok());
    let ran = block_in_place(|| site.inferbus(&hasty(&[]).iter().map(String::as_str).collect::<Vec<_>>()));
    assert!(ran.stderr.contains("ack wait 30s") && ran.stderr.contains("needs 1s"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_put_by_any_client_is_followed_live() {
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    let worker = block_in_place(|| Worker::start(site.url()));
    let route = r#"{"mode":"stream","stream":"SENSORS","subject":"sensors.cam.*","model":"sensor","output":"seen.$1"}"#;
    site.put("routes", "cams", route).await;
    block_in_place(|| worker.wait_for("route started"));
    publish(&site, "sensors.cam.a", numbered(1)).await;
    block_in_place(|| idle(&worker, 1.0));
    let results = site.stored("INFERBUS_RESULTS_cams").await;
    assert_eq!(results.iter().map(|result| result.subject.as_str()).collect::<Vec<_>>(), ["seen.a"]);
    block_in_place(|| {
        site.inferbus(&["route", "rm", "cams"]).ok();
        worker.wait_for("route ended");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_delivered_while_the_model_is_missing() {
    let site = Site::start().await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    publish(&site, "sensors.cam.a", numbered(1)).await;
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| {
        worker.wait_for("the route is not served");
        let (code, why) = worker.get("/readyz");
        assert!(code == 503 && why.contains("route cams: no model `sensor` is active"), "{why}");
    });
    site.activate(&sensor(FIRST)).await;
    block_in_place(|| {
        idle(&worker, 1.0);
        until("the worker is ready", || worker.get("/readyz").0 == 200);
    });
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
    assert_eq!(consumer.delivered.consumer_sequence, 1, "delivered once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_is_single_also_when_the_server_has_forgotten_it() {
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    let forgetful = Config {
        name: "FORGETFUL".into(),
        subjects: vec!["inference.>".into()],
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    jetstream::new(site.client.clone()).create_stream(forgetful).await.expect("a stream");
    add(&site, &hasty(&["--results", "FORGETFUL"]));
    publish(&site, "sensors.cam.a", numbered(1)).await;
    let dying =
        WorkerOptions { environment: vec![("INFERBUS_FAILPOINT".into(), "confirmed:1".into())], ..Default::default() };
    block_in_place(|| assert_eq!(Worker::start_with(site.url(), dying).end(), None, "killed"));
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| idle(&worker, 1.0));
    assert_eq!(site.stored("FORGETFUL").await.len(), 1);
    assert_eq!(worker.metric("inferbus_stream_redelivered_total{"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_one_key_keep_their_order() {
    let site = Site::start().await;
    // The lower a number, the longer it takes: without order the next one overtakes it.
    let slow = r#"(local $left i32)
        (local.set $left (i32.mul (i32.sub (i32.const 40) (i32.load8_u (local.get $ptr))) (i32.const 200000)))
        (loop (local.set $left (i32.sub (local.get $left) (i32.const 1)))
          (br_if 0 (i32.gt_s (local.get $left) (i32.const 0))))"#;
    let bundle = BundleFolder::new("sensor", FIRST).plugin("pre", &sensor_pre("", b"", slow), "");
    site.activate(&bundle.plugin("post", &sensor_post("", b"", ""), "").table("[limits]\ntime = \"10s\"")).await;
    add(&site, &hasty(&["--order", "$1"]));
    for number in 0..40 {
        publish(&site, &format!("sensors.cam.{}", number % 3), numbered(number)).await;
    }
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| idle(&worker, 40.0));
    let mut by_key = BTreeMap::<String, Vec<u8>>::new();
    for result in site.stored("INFERBUS_RESULTS_cams").await {
        by_key.entry(result.subject).or_default().push(result.payload[0]);
    }
    assert_eq!(by_key.len(), 3);
    assert!(by_key.values().all(|numbers| numbers.is_sorted()), "{by_key:?}");
    assert_eq!(by_key.values().map(Vec::len).sum::<usize>(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_stream_and_a_slow_model_stay_within_bounds() {
    const DEEP: usize = 20_000;
    const LARGE: usize = 16 << 10;
    let site = Site::start().await;
    // Every message takes its time, and is refused for its length.
    let slow = r#"(local $left i32) (local.set $left (i32.const 20000000))
        (loop (local.set $left (i32.sub (local.get $left) (i32.const 1))) (br_if 0 (local.get $left)))"#;
    site.activate(
        &BundleFolder::new("sensor", FIRST)
            .plugin("pre", &sensor_pre("", b"", slow), "")
            .table("[limits]\ntime = \"10s\""),
    )
    .await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    let payload = bytes::Bytes::from(vec![7; LARGE]);
    for _ in 0..DEEP {
        site.client.publish("sensors.cam.a", payload.clone()).await.expect("published");
    }
    assert!(round_trip(&site.client, PATIENCE).await);
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| {
        let before = resident(worker.id());
        idle(&worker, 50.0);
        let grown = resident(worker.id()).saturating_sub(before);
        assert!(grown < 64 << 20, "{grown} bytes more");
        assert!(worker.metric("inferbus_stream_pending_messages{") > 10_000.0);
    });
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
    assert!(consumer.num_ack_pending < 600, "{} in flight", consumer.num_ack_pending);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_told_to_stop_settles_what_it_has() {
    const ALL: u64 = 5000;
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    for number in 0..ALL {
        let payload = [number.to_le_bytes(), number.to_le_bytes()].concat();
        // No number begins with the filtered byte.
        let payload = if payload[0] == 255 { numbered(0) } else { payload };
        site.client.publish("sensors.cam.a", payload.into()).await.expect("published");
    }
    assert!(round_trip(&site.client, PATIENCE).await);
    block_in_place(|| {
        for _ in 0..5 {
            let worker = Worker::start(site.url());
            until("it is at work", || worker.metric("inferbus_stream_messages_total{") > 100.0);
            assert_eq!(worker.stop(), Some(0));
        }
    });
    let worker = block_in_place(|| Worker::start(site.url()));
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let done = async {
        while stream.consumer_info("inferbus-cams").await.expect("the consumer").ack_floor.stream_sequence < ALL {}
    };
    tokio::time::timeout(PATIENCE, done).await.expect("everything is done");
    block_in_place(|| assert_eq!(worker.stop(), Some(0)));
    let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
    assert_eq!((consumer.num_pending, consumer.num_ack_pending, consumer.ack_floor.stream_sequence), (0, 0, ALL));
    let results = jetstream::new(site.client.clone()).get_stream("INFERBUS_RESULTS_cams").await.expect("results");
    assert_eq!(results.cached_info().state.messages, ALL);
    // Only the messages about to be sent at the worker's last request are redelivered.
    let again = consumer.delivered.consumer_sequence - ALL;
    say(&format!("streams: five workers were stopped under load, and {again} of {ALL} messages were delivered again"));
    assert!(again < 50, "{again} were delivered again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_consumer_is_made_again_only_on_purpose() {
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    block_in_place(|| site.inferbus(&ROUTE).ok());
    let worker = block_in_place(|| Worker::start(site.url()));
    publish(&site, "sensors.cam.a", numbered(1)).await;
    block_in_place(|| idle(&worker, 1.0));
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    stream.delete_consumer("inferbus-cams").await.expect("deleted");
    block_in_place(|| {
        until("the alarm", || worker.get("/readyz").1.contains("inferbus route repair cams --start-at <sequence>"));
        let ran = site.inferbus(&["route", "repair", "cams"]);
        assert!(ran.code == Some(1) && ran.stderr.contains("--start-at"), "{ran:?}");
        site.inferbus(&["route", "repair", "cams", "--start-at", "2"]).ok();
        until("the worker is ready", || worker.get("/readyz").0 == 200);
    });
    publish(&site, "sensors.cam.a", numbered(2)).await;
    block_in_place(|| idle(&worker, 2.0));
    assert_eq!(site.stored("INFERBUS_RESULTS_cams").await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_routes_share_one_worker() {
    const ROUTES: usize = 300;
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    let worker = block_in_place(|| Worker::start(site.url()));
    site.keep("MANY", &["many.*"]).await;
    for number in 0..ROUTES {
        let route = format!(
            r#"{{"mode":"stream","stream":"MANY","subject":"many.{number}","model":"sensor",
            "output":"results.{number}","results":"MANY_RESULTS"}}"#
        );
        if number == 0 {
            site.keep("MANY_RESULTS", &["results.>"]).await;
        }
        site.put("routes", &format!("many-{number}"), &route).await;
    }
    // Twice each: the second message comes to idle routes.
    for round in 1..=2 {
        for number in 0..ROUTES {
            publish(&site, &format!("many.{number}"), numbered(round)).await;
        }
        block_in_place(|| idle(&worker, (ROUTES * usize::from(round)) as f64));
    }
    assert_eq!(site.stored("MANY_RESULTS").await.len(), 2 * ROUTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_goes_on_when_its_results_have_room_again() {
    let site = Site::start().await;
    site.activate(&sensor(FIRST)).await;
    let mut full = Config {
        name: "FULL".into(),
        subjects: vec!["inference.>".into()],
        max_messages: 1,
        discard: DiscardPolicy::New,
        ..Default::default()
    };
    let jetstream = jetstream::new(site.client.clone());
    jetstream.create_stream(full.clone()).await.expect("a stream");
    add(&site, &hasty(&["--results", "FULL"]));
    let worker = block_in_place(|| Worker::start(site.url()));
    for number in 0..50 {
        publish(&site, "sensors.cam.a", numbered(number)).await;
    }
    block_in_place(|| until("the alarm", || worker.get("/readyz").1.contains("maximum messages exceeded")));
    full.max_messages = -1;
    jetstream.update_stream(full).await.expect("room");
    block_in_place(|| {
        idle(&worker, 50.0);
        until("the worker is ready", || worker.get("/readyz").0 == 200);
    });
    assert_eq!(site.stored("FULL").await.len(), 50);
}
