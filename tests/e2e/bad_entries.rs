//! A bad entry does no harm: the old bundle keeps serving, every worker reports the reason, and a good version
//! repairs it.

use std::sync::Arc;

use async_nats::jetstream;
use bytes::Bytes;
use inferbus_catalog::Digest;
use inferbus_testkit::breadth::{of_each_kind, size};
use inferbus_tests::{Answer, Background, FIRST, SECOND, Site, Worker, ask, has_message, heldout, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const FAILED: &str = "the active version cannot be served";

/// An operator's mistake, and the report expected of every worker.
enum Mistake {
    /// Puts this text as the entry of a new version and activates it.
    Entry(String),
    /// Puts this text in place of the active version.
    Pointer(String),
    /// Stores bytes as an artifact by hand, names them in the good entry's part, and activates the entry.
    Artifact { part: &'static str, bytes: Vec<u8>, named: Digest },
}

struct Case {
    /// Every change tries one case of each kind.
    kind: &'static str,
    name: &'static str,
    mistake: Mistake,
    /// Every worker's problem holds these words.
    words: &'static str,
}

fn case(kind: &'static str, name: &'static str, mistake: Mistake, words: &'static str) -> Case {
    Case { kind, name, mistake, words }
}

fn cases(good: &Value) -> Vec<Case> {
    entries_and_pointers(good).into_iter().chain(artifacts()).collect()
}

fn entries_and_pointers(good: &Value) -> Vec<Case> {
    let entry = |change: fn(&mut Value)| {
        let mut entry = good.clone();
        change(&mut entry);
        Mistake::Entry(entry.to_string())
    };
    let pointer = |text: &str| Mistake::Pointer(text.to_owned());
    let other = json!({ "version": SECOND, "digest": Digest::of(b"something else") }).to_string();
    vec![
        case("entry", "malformed JSON", Mistake::Entry("{\"model\":".to_owned()), "not valid JSON"),
        case("key", "unknown key", entry(|entry| entry["colour"] = json!("red")), "colour: unknown key"),
        case("key", "unknown key below", entry(|entry| entry["pre"]["colour"] = json!(1)), "pre.colour: unknown key"),
        case("version", "unknown version", pointer("7.7.7"), "no version 7.7.7"),
        case("pointer", "malformed pointer", pointer("banana"), "\"banana\" is not a version"),
        case("pointer", "empty pointer", pointer(""), "expected a version"),
        case("digest", "other digest", pointer(&other), "was activated"),
        case(
            "missing",
            "missing artifact",
            entry(|entry| entry["model"]["digest"] = json!(Digest::of(b"missing"))),
            "is not stored",
        ),
        case("bytes", "wrong size", entry(|entry| entry["model"]["size"] = json!(12)), "should have 12 bytes"),
    ]
}

fn artifacts() -> Vec<Case> {
    let artifact = |part, bytes: Vec<u8>| Mistake::Artifact { part, named: Digest::of(&bytes), bytes };
    let other = Mistake::Artifact { part: "pre", bytes: b"other bytes".to_vec(), named: Digest::of(b"something else") };
    let wasi = wat::parse_str(
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32))))"#,
    );
    let wasi = artifact("pre", wasi.expect("WebAssembly text"));
    let sample = artifact("sample", b"no picture".to_vec());
    vec![
        case("bytes", "other bytes", other, "the bytes stored as"),
        case("module", "forbidden import", wasi, "imports wasi_snapshot_preview1.fd_write"),
        case("module", "invalid wasm", artifact("post", b"\0asm\x01\0\0\0nonsense".to_vec()), "not a valid module"),
        case("module", "not wasm", artifact("pre", b"#!/bin/sh".to_vec()), "is not WebAssembly"),
        case("sample", "failing sample", sample, "the bundle's sample failed in pre: "),
        case("model", "not ONNX", artifact("model", b"these bytes are no model".to_vec()), "the model: "),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_wrong_the_old_bundle_serves_and_a_good_version_heals() {
    let site = Site::with_digits().await;
    let workers = site.workers(["one", "two"]);
    let load = Load::start(&site);
    let good = site.inferbus(&["show", "digits", FIRST, "--output", "json"]).json()["entry"].take();
    let (mut serving, mut other) = (FIRST, SECOND);

    for (at, case) in of_each_kind(cases(&good), 1, |case| case.kind).into_iter().enumerate() {
        let before = workers.each_ref().map(failures);
        let marks = workers.each_ref().map(Worker::log_len);
        make(&site, &good, at, case.mistake).await;
        for (worker, mark) in workers.iter().zip(marks) {
            block_in_place(|| {
                worker.wait_until_after(mark, case.name, |line| {
                    has_message(line, FAILED) && has_message(line, case.words)
                })
            });
        }
        load.answers_with(serving).await;
        for status in status(&site, workers.len()) {
            assert_eq!(
                (&status["state"], &status["version"]),
                (&json!("failed"), &json!(serving)),
                "{}: {status}",
                case.name
            );
            assert!(
                status["error"].as_str().is_some_and(|error| error.contains(case.words)),
                "{}: {status}",
                case.name
            );
        }
        for (worker, before) in workers.iter().zip(before) {
            assert!(failures(worker) > before, "{}: the metric did not move", case.name);
        }

        heal(&site, &workers, other).await;
        load.answers_with(other).await;
        (serving, other) = (other, serving);
    }
    load.finish().await;
}

async fn make(site: &Site, good: &Value, at: usize, mistake: Mistake) {
    let version = format!("9.0.{at}");
    let entry = match mistake {
        Mistake::Pointer(text) => {
            site.put("models", "digits", &text).await;
            return;
        }
        Mistake::Entry(text) => text,
        Mistake::Artifact { part, bytes, named } => {
            let mut entry = good.clone();
            entry[part]["digest"] = json!(named);
            entry[part]["size"] = json!(bytes.len());
            store(site, &named.to_string(), &bytes).await;
            entry.to_string()
        }
    };
    site.put("models", &format!("digits.{version}"), &entry).await;
    site.put("models", "digits", &version).await;
}

/// As `nats object put artifacts` stores it.
async fn store(site: &Site, name: &str, mut bytes: &[u8]) {
    let artifacts = jetstream::new(site.client.clone()).get_object_store("artifacts").await.expect("the Object Store");
    artifacts.put(name, &mut bytes).await.expect("the object is put");
}

/// Activates a good version, and waits until every worker serves it and reports no error.
async fn heal(site: &Site, workers: &[Worker], version: &str) {
    let marks: Vec<usize> = workers.iter().map(Worker::log_len).collect();
    site.inferbus(&["activate", "digits", version]).ok();
    for (worker, mark) in workers.iter().zip(marks) {
        block_in_place(|| {
            worker
                .wait_until_after(mark, "healed", |line| has_message(line, "in service") && line["version"] == version)
        });
    }
    for status in status(site, workers.len()) {
        assert_eq!(
            (&status["state"], &status["version"], &status["error"]),
            (&json!("serving"), &json!(version), &Value::Null),
            "{status}"
        );
    }
}

fn failures(worker: &Worker) -> f64 {
    worker.metric("inferbus_bundle_load_failures_total{model=\"digits\"}")
}

/// Every worker's report on the model, from `inferbus status`.
fn status(site: &Site, workers: usize) -> Vec<Value> {
    let mut status = site.inferbus(&["status", "--output", "json"]).json();
    let listed = status.as_array_mut().expect("a list of workers");
    assert_eq!(listed.len(), workers, "{listed:?}");
    let model = |worker: &mut Value| {
        worker["models"].as_array().expect("models").iter().find(|model| model["model"] == "digits").cloned()
    };
    listed.iter_mut().map(|worker| model(worker).expect("the model is listed")).collect()
}

/// One request after another; each must succeed.
struct Load {
    client: async_nats::Client,
    payload: Bytes,
    others: Background,
}

impl Load {
    fn start(site: &Site) -> Self {
        let (client, payload) = (site.client.clone(), heldout().payloads.swap_remove(0));
        let others = Background::start({
            let (client, payload) = (client.clone(), payload.clone());
            move |_| {
                let (client, payload) = (client.clone(), payload.clone());
                async move { succeeded(&ask(&client, "infer.digits", payload).await) }
            }
        });
        Self { client, payload, others }
    }

    /// This version answers a new request, and the other requests continue.
    async fn answers_with(&self, version: &str) {
        let answer = ask(&self.client, "infer.digits", self.payload.clone()).await;
        succeeded(&answer);
        assert_eq!(answer.version, version);
        self.others.goes_on();
    }

    async fn finish(self) {
        self.others.finish().await;
    }
}

fn succeeded(answer: &Answer) {
    assert_eq!(answer.code, None, "{}", answer.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_is_deleted_and_made_again_is_followed_again() {
    let site = Site::with_digits().await;
    let workers = site.workers(["one", "two"]);
    let load = Load::start(&site);
    let marks = workers.each_ref().map(Worker::log_len);
    let before = workers.each_ref().map(failures);
    jetstream::new(site.client.clone()).delete_key_value("models").await.expect("the bucket is deleted");
    load.answers_with(FIRST).await;
    let tells = |worker: &Worker| worker.get("/status").1.contains("\"catalog\":\"");
    block_in_place(|| until("every worker reports the lost catalog", || workers.iter().all(tells)));

    // The buckets and the entries exist again, but no version is active.
    let folder = |version| inferbus_tests::digits(version).into_os_string().into_string().expect("UTF-8");
    site.inferbus(&["push", &folder(FIRST)]).ok();
    site.inferbus(&["push", &folder(SECOND)]).ok();
    let lost = "the active version is missing in the catalog";
    for (worker, mark) in workers.iter().zip(marks) {
        block_in_place(|| worker.wait_until_after(mark, lost, |line| has_message(line, lost)));
    }
    for status in status(&site, workers.len()) {
        assert_eq!((&status["state"], &status["version"]), (&json!("failed"), &json!(FIRST)), "{status}");
        assert!(status["error"].as_str().is_some_and(|error| error.contains(lost)), "{status}");
    }
    for (worker, before) in workers.iter().zip(before) {
        assert!(failures(worker) > before);
    }
    load.answers_with(FIRST).await;

    heal(&site, &workers, SECOND).await;
    load.answers_with(SECOND).await;
    load.finish().await;
}

const PUTS: usize = 200;
const MANY_PUTS: usize = 1000;

#[tokio::test(flavor = "multi_thread")]
async fn of_many_puts_the_last_wins_and_few_are_loaded() {
    let site = Site::with_digits().await;
    let (puts, last) = (size(PUTS, MANY_PUTS), "1.2.0");
    let entry = site.inferbus(&["show", "digits", SECOND, "--output", "json"]).json()["entry"].take();
    site.put("models", &format!("digits.{last}"), &entry.to_string()).await;
    let workers = site.workers(["one", "two"]);
    let load = Load::start(&site);
    let swaps = |worker: &Worker| worker.metric("inferbus_bundle_swaps_total{model=\"digits\"}");

    let bus = jetstream::new(site.client.clone());
    let mut stored = Vec::new();
    for put in 0..puts {
        let version = if put + 1 == puts { last } else { [FIRST, SECOND][put % 2] };
        stored.push(bus.publish("$KV.models.digits", version.into()).await.expect("the put is sent"));
    }
    for stored in stored {
        stored.await.expect("the put is stored");
    }
    for worker in &workers {
        block_in_place(|| {
            worker.wait_until("the last version", |line| has_message(line, "in service") && line["version"] == last)
        });
        // Each load covers all earlier puts.
        assert!(swaps(worker) < puts as f64 / 4.0, "{} loads", swaps(worker));
    }
    load.answers_with(last).await;
    for status in status(&site, workers.len()) {
        assert_eq!((&status["state"], &status["version"]), (&json!("serving"), &json!(last)), "{status}");
    }
    load.finish().await;
}

const ROUNDS: usize = 3;
const MANY_ROUNDS: usize = 10;

/// The exit code after losing a race.
const OVERTAKEN: i32 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn of_two_operators_at_once_none_is_overwritten_unseen() {
    let site = Arc::new(Site::with_digits().await);
    let workers = site.workers(["one", "two"]);
    let load = Load::start(&site);
    for _ in 0..size(ROUNDS, MANY_ROUNDS) {
        let activate = |version: &'static str| {
            let site = site.clone();
            tokio::task::spawn_blocking(move || site.inferbus(&["activate", "digits", version]))
        };
        let (first, second) = tokio::join!(activate(FIRST), activate(SECOND));
        let ended = [(FIRST, first.expect("it ran")), (SECOND, second.expect("it ran"))];
        let active = site.inferbus(&["ls", "--output", "json"]).json()[0]["active"].take();
        let won: Vec<&str> = ended.iter().filter(|(_, ran)| ran.code == Some(0)).map(|(version, _)| *version).collect();
        assert!(won.iter().any(|version| active == *version), "{active} is active: {ended:?}");
        for (_, ran) in ended.iter().filter(|(_, ran)| ran.code != Some(0)) {
            assert_eq!(ran.code, Some(OVERTAKEN), "{ran:?}");
            assert!(ran.stderr.contains("was changed at the same time"), "{ran:?}");
        }
        let served = || {
            status(&site, workers.len())
                .iter()
                .all(|status| status["version"] == active && status["state"] == "serving")
        };
        block_in_place(|| until("every worker serves the active version", served));
    }
    load.finish().await;
}
