//! Bad models in one worker's catalog: each is rejected with a sentence or is harmless, and a neighbour is served all
//! the while. A run past its time is stopped.

use std::collections::HashSet;
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, object_store::ObjectStore};
use inferbus_abi::frame::{DataType, Frame};
use inferbus_catalog::Digest;
use inferbus_testkit::bad_models::corpus;
use inferbus_testkit::breadth::{of_each_kind, size};
use inferbus_testkit::{memory, onnx};
use inferbus_tests::plugin::frame;
use inferbus_tests::{Background, BundleFolder, FIRST, IDENTITY_MODEL, Site, Worker, WorkerOptions, ask, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const SEED: u64 = 7;
/// Divides by zero while it is loaded.
const DEADLY: &str = "DepthToSpace with evil attributes 1";
/// The most resident memory of a worker with any models.
const RESIDENT: u64 = 1 << 30;
/// Models of each kind for every change.
const OF_EACH_KIND: usize = 3;
/// Between two requests of the neighbour.
const BETWEEN: Duration = Duration::from_millis(5);

fn worker(site: &Site, arguments: &[&str]) -> Worker {
    let arguments = arguments.iter().map(ToString::to_string).collect();
    block_in_place(|| Worker::start_with(site.url(), WorkerOptions { arguments, ..WorkerOptions::default() }))
}

/// The models in the worker's `status`.
fn models(worker: &Worker) -> Vec<Value> {
    let status: Value = serde_json::from_str(&worker.get("/status").1).expect("JSON");
    status["models"].as_array().expect("models").clone()
}

fn model(worker: &Worker, name: &str) -> Value {
    models(worker).into_iter().find(|model| model["model"] == name).unwrap_or_default()
}

/// Puts a model into the catalog past `push`, and activates it.
async fn smuggle(site: &Site, artifacts: &ObjectStore, name: &str, onnx: &[u8], engine: Value) {
    let digest = Digest::of(onnx);
    artifacts.put(digest.to_string().as_str(), &mut &onnx[..]).await.expect("the object is put");
    let entry = json!({ "model": { "digest": digest, "size": onnx.len() }, "engine": engine });
    site.put("models", &format!("{name}.{FIRST}"), &entry.to_string()).await;
    site.put("models", name, FIRST).await;
}

async fn artifacts(site: &Site) -> ObjectStore {
    jetstream::new(site.client.clone()).get_object_store("artifacts").await.expect("the Object Store")
}

/// Sends the neighbour request after request, and compares every answer.
fn neighbour(site: &Site) -> Background {
    let client = site.client.clone();
    Background::start(move |number| {
        let client = client.clone();
        async move {
            // A neighbour with a whole processor would only slow the test.
            tokio::time::sleep(BETWEEN).await;
            answers_right(&client, number as f32).await;
        }
    })
}

async fn answers_right(client: &Client, number: f32) {
    let data: Vec<u8> = [number, 1.0, -2.5, 0.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let answer = ask(client, "infer.neighbour", frame("x", DataType::F32, &[1, 4], &data).into()).await;
    assert_eq!(answer.code, None, "{}", answer.error);
    let reply = Frame::decode(&answer.payload).expect("a frame");
    assert_eq!(reply.get("y").expect("y").data, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bad_model_hurts_the_worker_or_its_neighbour() {
    let site = Site::start().await;
    site.activate(&BundleFolder::new("neighbour", FIRST)).await;
    let mut worker = worker(&site, &["--trial-memory", "384MiB"]);
    let neighbour = neighbour(&site);
    let all = corpus(SEED, &[IDENTITY_MODEL.to_vec(), onnx::weighty(16, 2)]);
    assert!(all.len() >= 300, "{}", all.len());
    let all = of_each_kind(all, OF_EACH_KIND, |bad| bad.kind);
    let store = artifacts(&site).await;
    for (at, bad) in all.iter().enumerate() {
        smuggle(&site, &store, &format!("bad-{at}"), &bad.bytes, json!({ "time": "100ms" })).await;
    }
    let met = block_in_place(|| all_met(&worker, all.len()));
    let (mut refused, mut serving) = (0, Vec::new());
    for model in &met {
        match model["error"].as_str() {
            Some(why) => {
                assert!(why.len() > 10, "{model}");
                refused += 1;
            }
            None => serving.push(model["model"].as_str().expect("a name").to_owned()),
        }
    }
    // Each serving model gets one request: an answer comes, of any content.
    for name in &serving {
        let data = 0_f32.to_le_bytes();
        ask(&site.client, &format!("infer.{name}"), frame("x", DataType::F32, &[1, 1], &data).into()).await;
    }
    let asked = neighbour.finish().await;
    let peak = memory::peak(worker.id());
    println!(
        "{refused} refused, {} served, {asked} answers of the neighbour, {} MiB at the peak",
        serving.len(),
        peak >> 20
    );
    assert!(refused > size(20, 200) && !serving.is_empty(), "{refused} of {}", all.len());
    assert!(asked > all.len(), "the neighbour got {asked} answers");
    assert!(peak < RESIDENT, "{} MiB", peak >> 20);
    assert!(worker.is_running());
    assert!(worker.log_text().contains("ended the process that tried it"), "none ended a process");
    assert_eq!(worker.metric("inferbus_stuck_lanes"), 0.0);
}

/// Waits until the worker has logged service or an error for each bad model.
fn all_met(worker: &Worker, count: usize) -> Vec<Value> {
    let is_bad = |line: &Value| line["model"].as_str().is_some_and(|name| name.starts_with("bad-"));
    let is_met = |line: &Value| is_bad(line) && (line["message"] == "in service" || line["level"] == "ERROR");
    let (mut met, mut mark) = (HashSet::new(), 0);
    while met.len() < count {
        let (line, next) = worker.wait_until_after(mark, "the outcome of one more bad model", is_met);
        met.insert(line["model"].to_string());
        mark = next;
    }
    models(worker).into_iter().filter(is_bad).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn push_refuses_what_would_end_a_worker() {
    let site = Site::start().await;
    let deadly = corpus(SEED, &[]).into_iter().find(|bad| bad.name == DEADLY).expect("it is in the corpus");
    let folder = BundleFolder::new("deadly", FIRST).network(&deadly.bytes);
    let path = folder.path().to_str().expect("UTF-8");
    let ran = block_in_place(|| site.inferbus(&["push", path, "--activate"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("a worker would reject the model"), "{ran:?}");
    assert!(ran.stderr.contains("ended the process that tried it (signal 8"), "{ran:?}");
    assert_eq!(site.inferbus(&["ls", "--output", "json"]).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_past_its_time_is_stopped_and_says_so() {
    let site = Site::start().await;
    let worker = worker(&site, &["--max-model-time", "5s"]);
    let store = artifacts(&site).await;
    smuggle(&site, &store, "turns", &onnx::turns(), json!({ "time": "200ms" })).await;
    smuggle(&site, &store, "patient", &onnx::turns(), json!({ "time": "6s" })).await;
    block_in_place(|| {
        until("the model serves", || model(&worker, "turns")["state"] == "serving");
        until("the other is refused", || model(&worker, "patient")["error"].is_string());
    });
    let error = model(&worker, "patient")["error"].to_string();
    assert!(error.contains("engine.time is 6s, more than this worker's limit of 5s"), "{error}");
    let turns = |count: i64| frame("x", DataType::I64, &[], &count.to_le_bytes());
    for _ in 0..2 {
        let endless = ask(&site.client, "infer.turns", turns(i64::MAX).into()).await;
        assert_eq!(endless.code, Some(504), "{}", endless.error);
        assert!(endless.error.contains("ran longer than 200ms and was stopped"), "{}", endless.error);
        let short = ask(&site.client, "infer.turns", turns(3).into()).await;
        assert_eq!(short.code, None, "{}", short.error);
        assert_eq!(Frame::decode(&short.payload).expect("a frame").get("y").expect("y").data, 3_i64.to_le_bytes());
    }
    assert_eq!(
        worker.metric("inferbus_messages_total{model=\"turns\",version=\"1.0.0\",outcome=\"out_of_time\"}"),
        2.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_this_machine_cannot_do_is_refused_by_name() {
    let site = Site::start().await;
    let worker = worker(&site, &[]);
    let store = artifacts(&site).await;
    smuggle(&site, &store, "elsewhere", IDENTITY_MODEL, json!({ "provider": "openvino" })).await;
    block_in_place(|| until("it is refused", || model(&worker, "elsewhere")["error"].is_string()));
    let error = model(&worker, "elsewhere")["error"].to_string();
    assert!(error.contains("lacks the provider") && error.contains("CPUExecutionProvider"), "{error}");
}
