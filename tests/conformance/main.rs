//! The backend tests of the package `onnx`, each as a model in the catalog and a request over NATS: a worker passes the
//! tests passed by ONNX Runtime itself.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use async_nats::Request;

use futures_util::stream::{self, StreamExt as _};
use inferbus::dev_server::Settings;
use inferbus_abi::frame::Frame;
use inferbus_testkit::breadth::size;
use inferbus_tests::tolerance::Tolerance;
use inferbus_tests::{BundleFolder, Site, Worker, WorkerOptions, answer, root, say};
use serde_json::Value;
use tokio::task::block_in_place;

/// Cases in flight: more would only wait for each other's loads.
const AT_ONCE: usize = 4;
const PUSHES: usize = 16;
/// Longer than a request waits for its model: on tract, a whole network takes long to load.
const PATIENCE: Duration = Duration::from_secs(150);

/// One model with its sets of inputs and expected outputs.
struct Case {
    id: String,
    name: String,
    operator: String,
    /// The type of its first input.
    first_type: String,
    sets: u64,
    tolerance: Tolerance,
}

impl Case {
    fn read(case: &Value) -> Self {
        let text = |key: &str| case[key].as_str().expect(key).to_owned();
        let number = |key: &str| case[key].as_f64().expect(key);
        let tolerance = Tolerance { relative: number("rtol"), absolute: number("atol") };
        Self {
            id: text("id"),
            name: text("name"),
            operator: text("operator"),
            first_type: text("type"),
            sets: case["sets"].as_u64().expect("sets"),
            tolerance,
        }
    }

    fn file(&self, suffix: &str) -> Vec<u8> {
        let path = folder().join(format!("{}.{suffix}", self.id));
        std::fs::read(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    }

    /// Sends every set; returns the first difference.
    async fn fault(&self, site: &Site) -> Option<String> {
        for set in 0..self.sets {
            let request = Request::new().payload(self.file(&format!("{set}.in")).into()).timeout(Some(PATIENCE));
            let reply = site.client.send_request(format!("infer.{}", self.id), request).await;
            let answer = answer(reply.unwrap_or_else(|fault| panic!("no reply for {}: {fault}", self.name)));
            if let Some(code) = answer.code {
                return Some(format!("{code} {}", answer.error));
            }
            if let Some(wrong) = self.difference(&answer.payload, &self.file(&format!("{set}.out"))) {
                return Some(wrong);
            }
        }
        None
    }

    fn difference(&self, got: &[u8], expected: &[u8]) -> Option<String> {
        let (got, expected) = (Frame::decode(got).expect("a frame"), Frame::decode(expected).expect("a frame"));
        if got.len() != expected.len() {
            return Some(format!("{} outputs instead of {}", got.len(), expected.len()));
        }
        let mut pairs = got.tensors().zip(expected.tensors());
        pairs.find_map(|(got, expected)| {
            let wrong = if got.name == expected.name {
                self.tolerance.difference(&got, &expected)?
            } else {
                format!("it takes the place of {}", expected.name)
            };
            Some(format!("output {}: {wrong}", got.name))
        })
    }
}

fn folder() -> PathBuf {
    root().join(".tools/conformance")
}

fn cases() -> Vec<Case> {
    let index = std::fs::read(folder().join("index.json"));
    let index = index.expect("the models of this test: run `make setup-tests`, which makes them");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let cases = index.as_array().expect("a list").iter().map(Case::read).collect();
    if size(true, false) { of_each_operator_and_type(cases) } else { cases }
}

/// The first case of each operator, and of each type.
fn of_each_operator_and_type(cases: Vec<Case>) -> Vec<Case> {
    let (mut operators, mut types) = (BTreeSet::new(), BTreeSet::new());
    let mut is_first = |case: &Case| {
        let is_new = operators.insert(case.operator.clone());
        types.insert(case.first_type.clone()) || is_new
    };
    cases.into_iter().filter(|case| is_first(case)).collect()
}

/// A server with room for the largest input, of 4 MB.
async fn site() -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("server.conf");
    std::fs::write(&config, "max_payload: 8MB\n").expect("a configuration");
    Site::start_with(Settings { config: Some(&config), ..Settings::default() }).await
}

async fn push_all(site: &Site, cases: &[Case]) {
    let pushes = stream::iter(cases).map(|case| async move {
        site.activate(&BundleFolder::new(&case.id, "1.0.0").network(&case.file("onnx"))).await;
    });
    pushes.buffer_unordered(PUSHES).count().await;
}

/// The faults, by the name of the case.
async fn faults(site: &Site, cases: &[Case]) -> Vec<String> {
    let asks =
        stream::iter(cases).map(async |case| case.fault(site).await.map(|fault| format!("{}: {fault}", case.name)));
    let mut faults: Vec<String> = asks.buffer_unordered(AT_ONCE).filter_map(async |fault| fault).collect().await;
    faults.sort();
    faults
}

/// A worker with room for few models: the first message loads a model, and it makes room for the next.
fn worker(site: &Site, engine: &str) -> Worker {
    let arguments =
        ["--load-policy", "lazy", "--memory-budget", "256MiB", "--engine", engine].map(String::from).to_vec();
    block_in_place(|| Worker::start_with(site.url(), WorkerOptions { arguments, ..WorkerOptions::default() }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_passes_the_cases_of_onnx_runtime() {
    let (cases, started) = (cases(), Instant::now());
    let site = site().await;
    push_all(&site, &cases).await;
    let worker = worker(&site, "onnxruntime");
    let faults = faults(&site, &cases).await;
    let left_out = include_str!("left-out.txt").lines().count();
    say(&format!(
        "conformance: {} of {} cases pass, {left_out} left out (tests/conformance/left-out.txt), {} s",
        cases.len() - faults.len(),
        cases.len(),
        started.elapsed().as_secs(),
    ));
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(worker.metric("inferbus_model_evictions_total") > 0.0, "more models than there is room for");
    assert_eq!(block_in_place(|| worker.stop()), Some(0));
}

/// Needs a build with tract, ten minutes long: `make test-tract`.
#[cfg(feature = "tract")]
#[tokio::test(flavor = "multi_thread")]
async fn tract_passes_most_of_the_common_operators() {
    /// Fewer than this, and something was lost.
    const LEAST: usize = 1031;
    let (cases, site) = (cases(), site().await);
    push_all(&site, &cases).await;
    let worker = worker(&site, "tract");
    let faults = faults(&site, &cases).await;
    let passed = cases.len() - faults.len();
    say(&format!("conformance: {passed} of {} cases pass on tract", cases.len()));
    assert!(passed >= LEAST, "{passed} cases pass, fewer than {LEAST}:\n{}", faults.join("\n"));
    assert_eq!(worker.get("/healthz").0, 200, "the worker survives every model on tract");
    assert_eq!(block_in_place(|| worker.stop()), Some(0));
}

#[test]
fn left_out_cases_are_listed_with_their_reason() {
    let made = std::fs::read_to_string(folder().join("left-out.txt"));
    let made = made.expect("the models of this test: run `make setup-tests`, which makes them");
    let listed = include_str!("left-out.txt");
    let only = |these: &str, those: &str| {
        these
            .lines()
            .filter(|line| !those.lines().any(|other| other == *line))
            .map(|line| format!("  {line}\n"))
            .collect::<String>()
    };
    assert!(
        made == listed,
        "tests/conformance/left-out.txt differs from the list of Python's onnxruntime; \
         if the new list is right, copy .tools/conformance/left-out.txt there.\n\
         only listed:\n{}only left out:\n{}",
        only(listed, &made),
        only(&made, listed),
    );
}
