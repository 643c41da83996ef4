//! More models in the catalog than a worker can hold: a request loads its model, and the least used one makes room.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use async_nats::HeaderMap;
use async_nats::jetstream::{self, kv};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use inferbus_catalog::Digest;
use inferbus_testkit::breadth::size;
use inferbus_testkit::memory::resident;
use inferbus_tests::plugin::sensor_pre;
use inferbus_tests::{Answer, BundleFolder, FIRST, Site, Worker, WorkerOptions, ask, say, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const PAYLOAD: &[u8] = &[7; 16];

fn worker(site: &Site, arguments: &[&str]) -> Worker {
    let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
    block_in_place(|| Worker::start_with(site.url(), WorkerOptions { arguments, ..WorkerOptions::default() }))
}

async fn models(site: &Site) -> kv::Store {
    jetstream::new(site.client.clone()).get_key_value("models").await.expect("the bucket")
}

/// Many models of one bundle, each with another digest. Their artifacts are stored once.
async fn many(site: &Site, names: impl IntoIterator<Item = String>) -> Vec<(String, String)> {
    let bundle = BundleFolder::sensor("template", FIRST);
    site.activate(&bundle).await;
    let models = models(site).await;
    let entry = models.get(format!("template.{FIRST}")).await.expect("read").expect("the entry");
    let entry: Value = serde_json::from_slice(&entry).expect("JSON");
    let puts = stream::iter(names).map(|name| {
        let (models, mut entry) = (models.clone(), entry.clone());
        entry["labels"] = json!({ "name": name });
        async move {
            // Keys of a JSON value are sorted, and it is written without white space: so it is canonical.
            let entry = entry.to_string();
            let digest = Digest::of(entry.as_bytes()).to_string();
            models.put(format!("{name}.{FIRST}"), entry.into()).await?;
            models.put(&name, FIRST.into()).await?;
            Ok::<_, kv::PutError>((name, digest))
        }
    });
    puts.buffer_unordered(128).try_collect().await.expect("all are put")
}

async fn ask_model(site: &Site, model: &str) -> Answer {
    ask(&site.client, &format!("infer.{model}"), Bytes::from_static(PAYLOAD)).await
}

/// The answer is a result, and of exactly this model's version.
fn check(answer: &Answer, digest: &str) {
    assert_eq!((answer.code, &answer.payload[..]), (None, PAYLOAD), "{}", answer.error);
    assert_eq!(answer.digest, digest);
}

/// The number of models in use.
const USED: usize = 50;

/// Asks the models in use once each, in another order in each round.
async fn ask_used(site: &Arc<Site>, all: &Arc<Vec<(String, String)>>, round: usize) -> usize {
    let asks = stream::iter(0..USED).map(|number| {
        let (all, site) = (all.clone(), site.clone());
        async move {
            let (model, digest) = &all[(number * 7 + round) % USED * (all.len() / USED)];
            check(&ask_model(&site, model).await, digest);
        }
    });
    asks.buffer_unordered(8).count().await
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_of_many_models_are_served_with_room_for_twenty() {
    let models = size(1500, 10_000);
    const ROUNDS: usize = 6;
    let site = Site::start().await;
    let mut all = many(&site, (0..models).map(|number| format!("m{number:05}"))).await;
    all.sort();
    let started = Instant::now();
    // A bundle counts for little more than two mebibytes here.
    let worker = worker(&site, &["--load-policy", "lazy", "--memory-budget", "41MiB"]);
    let ready = started.elapsed();
    assert_eq!(worker.get("/readyz").0, 200);
    assert_eq!(worker.metric("inferbus_models_loaded "), 0.0);
    assert_eq!(worker.metric("inferbus_models_cold "), (models + 1) as f64, "the template is one, too");

    let (all, site) = (Arc::new(all), Arc::new(site));
    let empty = resident(worker.id());
    let mut largest = 0;
    for round in 0..ROUNDS {
        assert_eq!(ask_used(&site, &all, round).await, USED);
        let loaded = worker.metric("inferbus_models_loaded ");
        assert!((1.0..=20.0).contains(&loaded), "{loaded} models are loaded");
        largest = resident(worker.id()).max(largest);
    }
    assert!(worker.metric("inferbus_model_evictions_total") >= (USED - 20) as f64);
    assert!(worker.metric("inferbus_model_cold_loads_total") >= USED as f64);
    until("evicted models are gone", || worker.metric("inferbus_model_memory_bytes ") <= (41 << 20) as f64);
    say(&format!(
        "many_models: {models} models, ready after {} ms; {} of {USED} asked {ROUNDS} times loaded, \
         resident {} MiB before and at most {} MiB after",
        ready.as_millis(),
        worker.metric("inferbus_models_loaded "),
        empty >> 20,
        largest >> 20,
    ));
    assert!(largest < empty + (256 << 20), "{} MiB for twenty small models", (largest - empty) >> 20);

    let status = block_in_place(|| site.inferbus(&["status", "--output", "json"])).json();
    assert_eq!(
        status[0]["counts"]["cold"].as_u64().expect("a number") as usize + 20,
        models + 1,
        "{}",
        status[0]["counts"]
    );
    assert!(status[0]["models"].as_array().is_some_and(|models| models.len() <= 600));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_first_requests_cause_one_load_and_get_a_hundred_results() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let worker = worker(&site, &["--load-policy", "lazy"]);
    assert_eq!(worker.metric("inferbus_models_cold "), 1.0);
    let asks = (0..100).map(|_| ask_model(&site, "sensor"));
    for answer in futures_util::future::join_all(asks).await {
        assert_eq!((answer.code, &answer.payload[..]), (None, PAYLOAD), "{}", answer.error);
    }
    assert_eq!(worker.metric("inferbus_bundle_swaps_total"), 1.0, "one load");
    assert_eq!(worker.metric("inferbus_model_cold_loads_total"), 1.0);
    assert!(worker.metric("inferbus_model_cold_wait_seconds_count") >= 1.0);
    assert_eq!(worker.metric("inferbus_in_flight_messages "), 0.0, "every place is given back");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_for_a_model_that_cannot_be_had_hears_why() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    site.put("models", "broken", "7.7.7").await;
    site.put("models", "giant", FIRST).await;
    let models = models(&site).await;
    let entry = models.get(format!("sensor.{FIRST}")).await.expect("read").expect("the entry");
    let mut entry: Value = serde_json::from_slice(&entry).expect("JSON");
    entry["model"]["size"] = json!(1 << 30);
    site.put("models", &format!("giant.{FIRST}"), &entry.to_string()).await;
    let worker = worker(&site, &["--load-policy", "lazy", "--memory-budget", "100MiB"]);
    assert_eq!(worker.get("/readyz").0, 200);

    for answer in futures_util::future::join_all((0..10).map(|_| ask_model(&site, "broken"))).await {
        assert_eq!(answer.code, Some(503), "{}", answer.error);
        assert!(answer.error.contains("no version 7.7.7"), "{}", answer.error);
    }
    let answer = ask_model(&site, "giant").await;
    assert_eq!(answer.code, Some(503));
    assert!(
        answer.error.contains("the limit for all models is 100MiB") && answer.error.contains("--memory-budget"),
        "{}",
        answer.error
    );
    assert_eq!(ask_model(&site, "unknown").await.code, Some(404));
    assert_eq!(ask_model(&site, "sensor").await.code, None);
    assert_eq!(worker.get("/readyz").0, 200, "an optional model does not make a worker unready");

    // A repaired model is loaded again.
    let good = models.get(format!("sensor.{FIRST}")).await.expect("read").expect("the entry");
    site.put("models", &format!("broken.{FIRST}"), std::str::from_utf8(&good).expect("UTF-8")).await;
    site.put("models", "broken", FIRST).await;
    until("the repaired model is cold, as the giant is not", || worker.metric("inferbus_models_cold ") == 1.0);
    assert_eq!(ask_model(&site, "broken").await.code, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn pinned_models_stay_and_messages_in_flight_survive_that_their_model_makes_room() {
    const ROUNDS: usize = 12;
    let site = Arc::new(Site::start().await);
    let all = many(&site, ["kept", "one", "two"].map(String::from)).await;
    let digest_of: std::collections::BTreeMap<String, String> = all.into_iter().collect();
    // Room for two, one of them pinned: each further model takes the place of the other.
    let worker = worker(&site, &["--load-policy", "lazy", "--keep-loaded", "kept", "--memory-budget", "5MiB"]);
    assert_eq!(worker.metric("inferbus_models_loaded "), 1.0, "the pinned one is loaded at the start");
    for _ in 0..ROUNDS {
        let mut asks = Vec::new();
        for model in ["one", "two", "kept"] {
            for _ in 0..20 {
                let (site, digest) = (site.clone(), digest_of[model].clone());
                asks.push(tokio::spawn(async move { check(&ask_model(&site, model).await, &digest) }));
            }
        }
        for ask in asks {
            ask.await.expect("a result");
        }
    }
    assert!(worker.metric("inferbus_model_evictions_total") >= ROUNDS as f64);
    assert_eq!(worker.metric("inferbus_bundle_swaps_total{model=\"kept\"}"), 1.0, "never evicted");
    let status = block_in_place(|| site.inferbus(&["status", "--output", "json"])).json();
    let serving: BTreeSet<&str> = status[0]["models"]
        .as_array()
        .expect("models")
        .iter()
        .filter(|model| model["state"] == "serving")
        .filter_map(|model| model["model"].as_str())
        .collect();
    assert!(serving.contains("kept") && serving.len() == 2, "{serving:?}");

    // More pinned models than memory: the worker logs this, and is not ready.
    let crowded = WorkerOptions {
        environment: vec![("INFERBUS_KEEP_LOADED".into(), "kept,one,two".into())],
        arguments: vec!["--memory-budget".into(), "5MiB".into()],
        ..WorkerOptions::default()
    };
    let crowded = block_in_place(|| Worker::start_with(site.url(), crowded));
    let (code, why) = crowded.get("/readyz");
    assert_eq!(code, 503, "{why}");
    assert!(why.contains("two") && why.contains("--memory-budget"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_wakes_its_cold_model() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let worker = worker(&site, &["--load-policy", "lazy"]);
    let route = ["route", "add", "--stream", "SENSORS", "--subject", "sensors.*", "--model", "sensor"];
    let more = ["--output", "results.{{wildcard(1)}}", "--name=cams"];
    block_in_place(|| site.inferbus(&[&route[..], &more[..]].concat()).ok());
    assert_eq!(worker.get("/readyz").0, 200);
    assert_eq!(worker.metric("inferbus_models_cold "), 1.0, "nothing waits in the stream, so nothing is loaded");
    for number in 0..10 {
        site.store(&format!("sensors.{number}"), HeaderMap::new(), PAYLOAD.to_vec()).await;
    }
    until("every stored message has its result", || {
        worker.metric("inferbus_stream_messages_total{route=\"cams\",end=\"result\"}") >= 10.0
    });
    assert_eq!(worker.metric("inferbus_stream_redelivered_total"), 0.0, "none was taken too early");
    assert_eq!(worker.stop(), Some(0));
}

/// No message is pending, but one is in flight.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_model_is_woken_by_what_a_dead_worker_had_in_hand() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let environment = vec![("INFERBUS_FAILPOINT".to_owned(), "model_done:1".to_owned())];
    let fragile = Worker::spawn(site.url(), WorkerOptions { environment, ..WorkerOptions::default() });
    let route = ["route", "add", "--stream", "SENSORS", "--subject", "sensors.*", "--model", "sensor"];
    let more = ["--output", "results.{{wildcard(1)}}", "--name=cams", "--ack-wait=1s"];
    block_in_place(|| site.inferbus(&[&route[..], &more[..]].concat()).ok());
    site.store("sensors.1", HeaderMap::new(), PAYLOAD.to_vec()).await;
    assert_eq!(block_in_place(|| fragile.end()), None, "it was killed");
    let worker = worker(&site, &["--load-policy", "lazy"]);
    until("the message has its result", || {
        worker.metric("inferbus_stream_messages_total{route=\"cams\",end=\"result\"}") >= 1.0
    });
    assert_eq!(worker.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopping_worker_answers_whoever_waits_for_a_model() {
    let site = Site::start().await;
    let slow = sensor_pre("", b"", "").replace(
        "(func (export \"alloc\")",
        "(func (export \"init\") (param i32 i32) (result i32) (loop $again (br $again)) i32.const 0) \
         (func (export \"alloc\")",
    );
    let slow = BundleFolder::new("slow", FIRST).plugin("pre", &slow, "").table("[limits]\ntime = \"10s\"");
    site.activate(&slow).await;
    let worker = worker(&site, &["--load-policy", "lazy"]);
    let client = site.client.clone();
    let waits = tokio::spawn(async move { ask(&client, "infer.slow", Bytes::from_static(PAYLOAD)).await });
    until("the request waits", || worker.metric("inferbus_in_flight_messages ") == 1.0);
    worker.terminate();
    let answer = waits.await.expect("an answer");
    assert_eq!(answer.code, Some(503), "{}", answer.error);
    assert!(answer.error.contains("stopping"), "{}", answer.error);
    assert_eq!(block_in_place(|| worker.end()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_once_is_not_fetched_again() {
    let site = Site::start().await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("UTF-8").to_owned();
    let environment = vec![("INFERBUS_CACHE".into(), path), ("INFERBUS_CACHE_SIZE".into(), "1GiB".into())];
    let options = WorkerOptions { environment, ..WorkerOptions::default() };
    let first = block_in_place(|| Worker::start_with(site.url(), options.clone()));
    assert_eq!(ask_model(&site, "sensor").await.code, None);
    let kept = || std::fs::read_dir(folder.path().join("artifacts")).expect("the cache").count();
    until("the model and its plugins are on the disk", || kept() == 3);
    assert_eq!(block_in_place(|| first.stop()), Some(0));

    // The cache has the artifacts lost from the catalog.
    let stream = jetstream::new(site.client.clone()).get_stream("OBJ_artifacts").await.expect("the bucket");
    stream.purge().await.expect("purged");
    let second = block_in_place(|| Worker::start_with(site.url(), options));
    assert_eq!(ask_model(&site, "sensor").await.code, None);
    block_in_place(|| second.stop());
    let without = block_in_place(|| Worker::start(site.url()));
    assert_eq!(without.get("/readyz").0, 503);
    assert_eq!(ask_model(&site, "sensor").await.code, Some(503));
}
