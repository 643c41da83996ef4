//! Routes of mode `stream`: each stored message ends in one result, "no result", or one dead letter.

use std::collections::BTreeMap;

use async_nats::HeaderMap;
use async_nats::jetstream;
use inferbus_tests::plugin::{sensor_post, sensor_pre};
use inferbus_tests::{BundleFolder, FIRST, Site, Worker, until};
use tokio::task::block_in_place;

/// A first byte of 255 is filtered out; anything but 16 bytes is refused; the rest comes back.
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

async fn stored(site: &Site, stream: &str) -> Vec<(String, HeaderMap, Vec<u8>)> {
    let stream = jetstream::new(site.client.clone()).get_stream(stream).await.expect("the stream");
    let mut messages = Vec::new();
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return messages;
    }
    for sequence in state.first_sequence..=state.last_sequence {
        if let Ok(message) = stream.get_raw_message(sequence).await {
            messages.push((message.subject.to_string(), message.headers, message.payload.to_vec()));
        }
    }
    messages
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.as_str())
}

async fn publish(site: &Site, subject: &str, payload: Vec<u8>) -> u64 {
    let jetstream = jetstream::new(site.client.clone());
    let sent = jetstream.publish(subject.to_owned(), payload.into()).await.expect("sent");
    sent.await.expect("stored").sequence
}

/// Waits until the route has nothing left to do.
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

    let results = stored(&site, "INFERBUS_RESULTS_cams").await;
    assert_eq!(results.len(), 20);
    for (subject, headers, payload) in &results {
        let sequence: u64 = header(headers, "Inferbus-Sequence").parse().expect("a sequence");
        assert_eq!(expected[&sequence], *payload);
        assert_eq!(*subject, format!("inference.sensor.{}", payload[0]));
        assert_eq!(header(headers, "Inferbus-Version"), FIRST);
        let id = header(headers, "Nats-Msg-Id");
        assert!(id.starts_with("SENSORS@") && id.ends_with(&format!("/{sequence}/cams")), "{id}");
    }
    let dead = stored(&site, "INFERBUS_DLQ").await;
    assert_eq!(dead.len(), 20);
    for (subject, headers, payload) in &dead {
        let sequence: u64 = header(headers, "Inferbus-Sequence").parse().expect("a sequence");
        assert_eq!(*subject, format!("inferbus.dlq.cams.{sequence}"));
        assert_eq!(expected[&sequence], *payload);
        assert_eq!(header(headers, "Inferbus-Reason"), "refused");
        assert_eq!(header(headers, "Inferbus-Stage"), "pre");
        assert!(header(headers, "Inferbus-Error").contains("the sensor sends 16 bytes"));
    }
    let stream = jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
    assert_eq!((consumer.num_pending, consumer.num_ack_pending, consumer.num_redelivered), (0, 0, 0));
    block_in_place(|| assert_eq!(worker.stop(), Some(0)));
}
