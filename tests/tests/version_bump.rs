//! A hundred version bumps under load: nothing lost, no error, and every answer comes from a version that was active for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::Client;
use inferbus_tests::{Answer, BundleFolder, FIRST, Heldout, SECOND, Site, Worker, ask, heldout, say, until};
use tokio::sync::watch;
use tokio::task::JoinSet;

const IN_FLIGHT: usize = 64;
const BUMPS: usize = 100;

/// One answered request.
struct Seen {
    version: String,
    sent: Instant,
    answered: Instant,
}

/// The time in which a version answered: from when it was asked for until every worker had left it.
struct Phase {
    version: &'static str,
    put: Instant,
    /// Every worker is on this version.
    settled: Instant,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_bumps_under_load_lose_nothing() {
    let site = Site::with_digits().await;
    let workers = site.workers(["one", "two"]);
    let now = Instant::now();
    let mut phases = vec![Phase { version: FIRST, put: now, settled: now }];
    let load = Load::start(&site.client);

    let mut marks = workers.each_ref().map(Worker::log_len);
    for bump in 0..BUMPS {
        let version = if bump % 2 == 0 { SECOND } else { FIRST };
        let put = Instant::now();
        site.put("models", "digits", version).await;
        for (worker, mark) in workers.iter().zip(&mut marks) {
            *mark = tokio::task::block_in_place(|| in_service(worker, *mark, version));
        }
        let settled = Instant::now();
        phases.push(Phase { version, put, settled });
        load.answered_after(settled).await;
    }
    let seen = load.finish().await;

    assert!(seen.len() > BUMPS * IN_FLIGHT, "only {} requests were made", seen.len());
    for answer in &seen {
        assert!(was_active(&phases, answer), "{} answered when it was not active", answer.version);
    }
    report(&phases, &seen);
}

/// Waits until a worker serves a version, from a place in its log on; gives the place behind.
fn in_service(worker: &Worker, mark: usize, version: &str) -> usize {
    let fits = |line: &serde_json::Value| line["message"] == "in service" && line["version"] == version;
    worker.wait_until_after(mark, &format!("{version} in service"), fits).1
}

/// Whether the version could be met between sending and answering: it begins to answer after its put, and ends
/// when every worker is on the next one.
fn was_active(phases: &[Phase], seen: &Seen) -> bool {
    phases.iter().enumerate().any(|(at, phase)| {
        let left_before = phases.get(at + 1).is_some_and(|next| next.settled < seen.sent);
        phase.version == seen.version && phase.put <= seen.answered && !left_before
    })
}

/// From each put to the first result on the new version. A request that was sent before the phase before had
/// settled may still have met the version of the phase before that, which is the new one again.
fn report(phases: &[Phase], seen: &[Seen]) {
    let mut times: Vec<Duration> = Vec::new();
    for pair in phases.windows(2) {
        let [before, phase] = pair else { continue };
        let results = seen.iter().filter(|seen| seen.version == phase.version && seen.sent >= before.settled);
        let first = results.map(|seen| seen.answered).filter(|answered| *answered >= phase.put).min();
        times.push(first.expect("every version answers") - phase.put);
    }
    times.sort_unstable();
    assert_eq!(times.len(), BUMPS);
    let (least, median, most) = (times[0], times[BUMPS / 2], times[BUMPS - 1]);
    say(&format!(
        "version_bump: {BUMPS} bumps, {} requests with {IN_FLIGHT} in flight, 0 lost, 0 errors; from put to first result: min {least:.1?}, median {median:.1?}, max {most:.1?}",
        seen.len()
    ));
}

/// Requests that never stop: each asker sends the next one when it has its answer.
struct Load {
    askers: JoinSet<Vec<Seen>>,
    stop: Arc<AtomicBool>,
    /// When the latest request that was answered had been sent.
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

    /// Waits for the answer to a request that was sent after `start`.
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

/// The content is right, and of the version that the header names.
fn check(answer: &Answer, heldout: &Heldout, at: usize) {
    let json = answer.json();
    assert_eq!(json["label"].as_u64(), Some(heldout.predictions[at]), "{json}");
    let has_more = json.get("certain").is_some() && json.get("alternatives").is_some();
    let is_bare = json.as_object().is_some_and(|result| result.len() == 2);
    match answer.version.as_str() {
        FIRST => assert!(is_bare, "{json} says that it is of {FIRST}"),
        SECOND => assert!(has_more, "{json} says that it is of {SECOND}"),
        other => panic!("a result of version {other}"),
    }
}

/// Computes until its time is over.
const NEVER_ENDS: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "alloc") (param i32) (result i32) i32.const 1024)
  (func (export "transform") (param i32 i32) (result i64)
    (loop $again (br $again))
    i64.const 0))"#;

/// Answers nothing, at once.
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
    until("the request is in the worker's hands", || worker.metric("inferbus_in_flight ") == 1.0);
    let mark = worker.log_len();
    site.put("models", "slow", SECOND).await;
    tokio::task::block_in_place(|| in_service(&worker, mark, SECOND));

    assert_eq!(
        ask(&site.client, "infer.slow", "x".into()).await.version,
        SECOND,
        "a new request meets the new version"
    );
    let answer = started.await.expect("the request ends");
    assert_eq!((answer.version.as_str(), answer.code), (FIRST, Some(504)), "{}", answer.error);
    assert!(answer.error.contains("slow 1.0.0 pre"), "{}", answer.error);
}
