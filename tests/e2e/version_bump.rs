//! Version bumps under load: no request is lost, every answer is of an active version, and no old version stays behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, jetstream};
use inferbus_testkit::breadth::size;
use inferbus_testkit::memory::resident;
use inferbus_tests::{Answer, BundleFolder, FIRST, Heldout, SECOND, Site, Worker, ask, heldout, say, until};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::{JoinSet, block_in_place};

const IN_FLIGHT: usize = 64;
/// More than the number of old versions with series in the metrics.
const BUMPS: usize = 140;
const MANY_BUMPS: usize = 400;
/// The bump before the first measurement of memory.
const EARLY: usize = 40;
/// The growth of a worker itself is a few mebibytes. A leaked session costs as many for each bump.
const MAY_GROW: u64 = 48 << 20;

/// One answered request.
struct Seen {
    version: String,
    sent: Instant,
    answered: Instant,
}

/// The time in which a version answered: from its put until every worker had left it.
struct Phase {
    version: String,
    put: Instant,
    /// Every worker is on this version.
    settled: Instant,
}

/// The version of a bump. Even ones are copies of the first digits bundle, odd ones of the second; all digests differ.
fn version(bump: usize) -> String {
    format!("2.0.{bump}")
}

#[tokio::test(flavor = "multi_thread")]
async fn bumps_under_load_lose_no_request_and_leave_no_version_behind() {
    let (site, bumps) = (Site::with_digits().await, size(BUMPS, MANY_BUMPS));
    let workers = site.workers(["one", "two"]);
    let entries = [entry(&site, FIRST).await, entry(&site, SECOND).await];
    let now = Instant::now();
    let mut phases = vec![Phase { version: FIRST.into(), put: now, settled: now }];
    let load = Load::start(&site.client);

    let mut marks = workers.each_ref().map(Worker::log_len);
    let mut early = [0; 2];
    for bump in 0..bumps {
        let version = version(bump);
        let mut entry = entries[bump % 2].clone();
        entry["labels"] = json!({ "bump": version });
        site.put("models", &format!("digits.{version}"), &entry.to_string()).await;
        let put = Instant::now();
        site.put("models", "digits", &version).await;
        for (worker, mark) in workers.iter().zip(&mut marks) {
            *mark = block_in_place(|| in_service(worker, *mark, &version));
        }
        let settled = Instant::now();
        phases.push(Phase { version, put, settled });
        load.answered_after(settled).await;
        if bump == EARLY {
            early = workers.each_ref().map(|worker| resident(worker.id()));
        }
    }
    let seen = load.finish().await;

    assert!(seen.len() > bumps * IN_FLIGHT, "only {} requests were made", seen.len());
    for answer in &seen {
        assert!(was_active(&phases, answer), "{} answered when it was not active", answer.version);
    }
    report(&phases, &seen);
    for (worker, early) in workers.iter().zip(early) {
        block_in_place(|| leaves_nothing(worker, bumps, early));
    }
}

async fn entry(site: &Site, version: &str) -> Value {
    let models = jetstream::new(site.client.clone()).get_key_value("models").await.expect("the bucket");
    let entry = models.get(format!("digits.{version}")).await.expect("read").expect("the entry");
    serde_json::from_slice(&entry).expect("JSON")
}

/// Neither memory nor series of old versions stay.
fn leaves_nothing(worker: &Worker, bumps: usize, early: u64) {
    let late = resident(worker.id());
    say(&format!("version_bump: resident {} MiB after {EARLY} bumps, {} MiB at the end", early >> 20, late >> 20));
    assert!(late < early + MAY_GROW, "resident {} MiB, and {} MiB at the end", early >> 20, late >> 20);
    assert_eq!(worker.metric("inferbus_bundle_swaps_total{model=\"digits\"}"), (bumps + 1) as f64);
    assert_eq!(worker.metric("inferbus_bundle_info{"), 1.0, "one version serves");
    let of = |bump| {
        let version = version(bump);
        worker.metric(&format!("inferbus_messages_total{{model=\"digits\",version=\"{version}\""))
    };
    assert_eq!(of(0), 0.0, "the series of an old version are gone");
    assert!(of(bumps - 1) > 0.0 && of(bumps - 10) > 0.0, "those of the last versions are not");
}

/// Waits until a worker serves a version, from a place in its log on; returns the next place.
fn in_service(worker: &Worker, mark: usize, version: &str) -> usize {
    let fits = |line: &Value| line["message"] == "in service" && line["version"] == version;
    worker.wait_until_after(mark, &format!("{version} in service"), fits).1
}

/// Whether the version was active between request and answer: from its put until every worker is on the next one.
fn was_active(phases: &[Phase], seen: &Seen) -> bool {
    phases.iter().enumerate().any(|(at, phase)| {
        let left_before = phases.get(at + 1).is_some_and(|next| next.settled < seen.sent);
        phase.version == seen.version && phase.put <= seen.answered && !left_before
    })
}

/// The time from each put to the first result of the new version.
fn report(phases: &[Phase], seen: &[Seen]) {
    let mut times: Vec<Duration> = Vec::new();
    for phase in phases.iter().skip(1) {
        let first = seen.iter().filter(|seen| seen.version == phase.version).map(|seen| seen.answered).min();
        times.push(first.expect("every version answers") - phase.put);
    }
    times.sort_unstable();
    let bumps = times.len();
    let (least, median, most) = (times[0], times[bumps / 2], times[bumps - 1]);
    say(&format!(
        "version_bump: {bumps} bumps, {} requests with {IN_FLIGHT} in flight, 0 lost, 0 errors; \
         from put to first result: min {least:.1?}, median {median:.1?}, max {most:.1?}",
        seen.len()
    ));
}

/// Requests without a pause: each asker sends its next request after an answer.
struct Load {
    askers: JoinSet<Vec<Seen>>,
    stop: Arc<AtomicBool>,
    /// The time of sending of the latest answered request.
    latest: watch::Sender<Instant>,
}

impl Load {
    fn start(client: &Client) -> Self {
        let (stop, heldout) = (Arc::new(AtomicBool::new(false)), Arc::new(heldout()));
        let latest = watch::Sender::new(Instant::now());
        let mut askers = JoinSet::new();
        for asker in 0..IN_FLIGHT {
            let (client, stop) = (client.clone(), stop.clone());
            let (heldout, latest) = (heldout.clone(), latest.clone());
            askers.spawn(async move {
                let mut seen = Vec::new();
                for at in (0..heldout.payloads.len()).cycle().skip(asker) {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let sent = Instant::now();
                    let answer = ask(&client, "infer.digits", heldout.payloads[at].clone()).await;
                    check(&answer, &heldout, at);
                    seen.push(Seen { version: answer.version, sent, answered: Instant::now() });
                    latest.send_if_modified(|latest| {
                        let newer = sent > *latest;
                        *latest = sent.max(*latest);
                        newer
                    });
                }
                seen
            });
        }
        Self { askers, stop, latest }
    }

    /// Waits for the answer to a request sent after `start`.
    async fn answered_after(&self, start: Instant) {
        let mut latest = self.latest.subscribe();
        let answered = latest.wait_for(|latest| *latest > start);
        tokio::time::timeout(inferbus_tests::PATIENCE, answered)
            .await
            .expect("requests are answered")
            .expect("askers run");
    }

    async fn finish(self) -> Vec<Seen> {
        self.stop.store(true, Ordering::Relaxed);
        self.askers.join_all().await.into_iter().flatten().collect()
    }
}

/// The content is right, and of the version in the header.
fn check(answer: &Answer, heldout: &Heldout, at: usize) {
    let json = answer.json();
    assert_eq!(json["label"].as_u64(), Some(heldout.predictions[at]), "{json}");
    let has_more = json.get("certain").is_some() && json.get("alternatives").is_some();
    let is_bare = json.as_object().is_some_and(|result| result.len() == 2);
    let version = answer.version.as_str();
    let bump = version.strip_prefix("2.0.").map(|bump| bump.parse::<usize>().expect("a version of this test"));
    match bump.map_or(0, |bump| bump % 2) {
        0 => assert!(is_bare, "{json} of {version}"),
        _ => assert!(has_more, "{json} of {version}"),
    }
}

/// Runs until its time is over.
const NEVER_ENDS: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64)
    (loop $again (br $again))
    i64.const 0))"#;

/// Returns no result, at once.
const ENDS_AT_ONCE: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64) i64.const 0))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_finishes_on_the_version_that_it_started_with() {
    let site = Site::start().await;
    let slow = BundleFolder::new("slow", FIRST).plugin("pre", NEVER_ENDS, "").table("[limits]\ntime = \"5s\"");
    let quick = BundleFolder::new("slow", SECOND).plugin("pre", ENDS_AT_ONCE, "");
    site.inferbus(&["push", slow.path().to_str().expect("UTF-8"), "--activate"]).ok();
    site.inferbus(&["push", quick.path().to_str().expect("UTF-8")]).ok();
    let [worker] = site.workers(["one"]);

    let client = site.client.clone();
    let started = tokio::spawn(async move { ask(&client, "infer.slow", "x".into()).await });
    until("the request is in the worker's hands", || worker.metric("inferbus_in_flight_messages ") == 1.0);
    let mark = worker.log_len();
    site.put("models", "slow", SECOND).await;
    block_in_place(|| in_service(&worker, mark, SECOND));

    assert_eq!(
        ask(&site.client, "infer.slow", "x".into()).await.version,
        SECOND,
        "a new request meets the new version"
    );
    let answer = started.await.expect("the request ends");
    assert_eq!((answer.version.as_str(), answer.code), (FIRST, Some(504)), "{}", answer.error);
    assert!(answer.error.contains("slow 1.0.0 pre"), "{}", answer.error);
}
