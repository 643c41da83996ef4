//! Version bumps, each with a digest of its own, while requests flow: none fails, and nothing of what is gone stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_nats::jetstream;
use inferbus_tests::{FIRST, Site, Worker, ask, heldout, say, until_async};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const BUMPS: usize = 150;
const FIRST_BUMPS: usize = 50;
const ASKERS: usize = 8;
/// The worker's own growth over so few bumps is a few mebibytes; a session that is not given back is as many each time.
const MAY_GROW: u64 = 48 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn bumps_leave_no_request_unanswered_and_nothing_behind() {
    let site = Site::with_digits().await;
    let [worker] = site.workers(["one"]);
    let models = jetstream::new(site.client.clone()).get_key_value("models").await.expect("the bucket");
    let entry = models.get(format!("digits.{FIRST}")).await.expect("read").expect("the entry");
    let mut entry: Value = serde_json::from_slice(&entry).expect("JSON");
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let askers: Vec<_> = (0..ASKERS).map(|_| tokio::spawn(asker(&site, over.clone(), answered.clone()))).collect();

    let mut early = 0;
    for bump in 0..BUMPS {
        let version = format!("2.0.{bump}");
        entry["labels"] = json!({ "bump": version });
        site.put("models", &format!("digits.{version}"), &entry.to_string()).await;
        site.put("models", "digits", &version).await;
        block_in_place(|| worker.wait_until("the version is in service", |line| is_of(line, &version)));
        let before = answered.load(Ordering::Relaxed);
        until_async("every asker has met it", async || answered.load(Ordering::Relaxed) >= before + 2 * ASKERS).await;
        if bump == FIRST_BUMPS {
            early = resident(&worker);
        }
    }
    over.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.expect("every answer is right");
    }
    let late = resident(&worker);
    say(&format!(
        "bumps: {BUMPS} bumps under {} requests, none failed; resident {} MiB after {FIRST_BUMPS}, {} MiB at the end",
        answered.load(Ordering::Relaxed),
        early >> 20,
        late >> 20
    ));
    assert!(late < early + MAY_GROW, "resident {} MiB, and {} MiB at the end", early >> 20, late >> 20);
    assert_eq!(worker.metric("inferbus_swaps_total{model=\"digits\"}"), (BUMPS + 1) as f64);
    assert_eq!(worker.metric("inferbus_bundle{"), 1.0, "one version serves");
    let of = |version: &str| worker.metric(&format!("inferbus_messages_total{{model=\"digits\",version=\"{version}\""));
    assert_eq!(of("2.0.0"), 0.0, "the series of a version that is long gone are gone");
    assert!(of("2.0.149") > 0.0 && of("2.0.140") > 0.0, "those of the last ones are not");
}

fn is_of(line: &Value, version: &str) -> bool {
    line["message"] == "in service" && line["version"] == version
}

fn asker(site: &Site, over: Arc<AtomicBool>, answered: Arc<AtomicUsize>) -> impl Future<Output = ()> + use<> {
    let client = site.client.clone();
    let heldout = heldout();
    async move {
        for (payload, prediction) in heldout.payloads.iter().zip(&heldout.predictions).cycle() {
            if over.load(Ordering::Relaxed) {
                return;
            }
            let answer = ask(&client, "infer.digits", payload.clone()).await;
            assert_eq!(answer.json()["label"].as_u64(), Some(*prediction));
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn resident(worker: &Worker) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", worker.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.split_whitespace().next().expect("a number").parse::<u64>().expect("a number") << 10
}
