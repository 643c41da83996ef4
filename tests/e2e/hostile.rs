//! Every hostile module against a real worker: each gets exactly its fault, and a neighbour is served all the while.

use bytes::Bytes;
use futures_util::StreamExt as _;
use inferbus_abi::frame::Frame;
use inferbus_catalog::Digest;
use inferbus_sandbox::{Bounds, Fault, FaultClass, LoadFault};
use inferbus_testkit::breadth::{of_each_kind, size};
use inferbus_testkit::hostile_modules::Expected::{Call, Invalid, Load, Served};
use inferbus_testkit::hostile_modules::{Case, all};
use inferbus_tests::{
    Background, BundleFolder, FIRST, IDENTITY_MODEL, Site, Worker, WorkerOptions, ask, connect, heldout, plugin,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const VICTIM: &str = "victim";
const SUBJECT: &str = "infer.victim";
const FAILED: &str = "the active version cannot be served: ";

#[tokio::test(flavor = "multi_thread")]
async fn each_misbehaviour_gets_its_fault_and_a_neighbour_is_served() {
    let site = Site::with_digits().await;
    let mut stage = Stage::start(&site).await;
    let neighbour = neighbour(&site).await;
    let mut emitted = site.client.subscribe("inference.victim.>").await.unwrap();
    let cases = of_each_kind(all(), 1, kind);
    let mut refused = 0;
    // No version is the beginning of another's name.
    for (case, number) in cases.iter().zip(1000..) {
        let version = format!("2.0.{number}");
        match &case.expected {
            Load(fault) => {
                stage.is_not_loaded(case, &version, &|said| is(said, case, fault)).await;
                refused += 1;
            }
            Invalid(part) => {
                let words = "is not a valid module of the features that plugins may use: ";
                stage.is_not_loaded(case, &version, &|said| said.starts_with(words) && said.contains(part)).await;
                refused += 1;
            }
            Call(_) | Served(_) => stage.answers(case, &version).await,
        }
        neighbour.goes_on();
    }
    let enough = size(12, 40);
    assert!(refused >= enough && cases.len() - refused >= enough, "{refused} of {} cases are refused", cases.len());
    assert!(stage.worker.metric("inferbus_bundle_load_failures_total{model=\"victim\"}") >= refused as f64);
    site.client.publish("inference.victim.end", "".into()).await.unwrap();
    assert_eq!(emitted.next().await.unwrap().subject.as_str(), "inference.victim.end", "no failed message emits");
    neighbour.finish().await;
    assert!(stage.worker.is_running(), "it is the process that it was");
}

/// The fault of a case without its details.
fn kind(case: &Case) -> String {
    let text = format!("{:?}", case.expected);
    let words = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    match &case.expected {
        Load(LoadFault::Start(_) | LoadFault::Init { .. }) => words.take(4).collect(),
        Load(_) | Call(_) => words.take(2).collect(),
        Invalid(_) => words.take(1).collect(),
        Served(_) => case.name.to_owned(),
    }
}

/// Whether the reason is exactly the fault. An artifact without bytes already fails as an entry.
fn is(said: &str, case: &Case, fault: &LoadFault) -> bool {
    if case.wasm().is_empty() { said.contains("pre.size: ") } else { said == fault.to_string() }
}

/// A worker, and a model with the hostile modules as its versions.
struct Stage<'a> {
    site: &'a Site,
    worker: Worker,
    /// The serving version of the victim.
    serving: String,
}

impl<'a> Stage<'a> {
    /// Begins with a well-behaved version.
    async fn start(site: &'a Site) -> Self {
        let arguments = ["--log", "info,async_nats=warn,ort=warn,inferbus::plugin=trace"].map(str::to_owned).to_vec();
        let worker = Worker::start_with(site.url(), WorkerOptions { arguments, ..Default::default() });
        let good = BundleFolder::new(VICTIM, FIRST).plugin("pre", &plugin::sensor_pre("", b"", ""), "");
        let mut stage = Self { site, worker, serving: String::new() };
        let mark = stage.worker.log_len();
        site.activate(&good).await;
        stage.swapped(mark, FIRST);
        stage
    }

    fn swapped(&mut self, mark: usize, version: &str) {
        let fits = |line: &Value| line["message"] == "in service" && line["version"] == version;
        block_in_place(|| self.worker.wait_until_after(mark, version, fits));
        self.serving = version.to_owned();
    }

    /// The worker logs the reason, and continues with its old version.
    async fn is_not_loaded(&self, case: &Case, version: &str, fits: &dyn Fn(&str) -> bool) {
        let mark = self.worker.log_len();
        put(self.site, case, version).await;
        let failed = |line: &Value| {
            line["message"].as_str().is_some_and(|text| text.starts_with(FAILED) && text.contains(version))
        };
        let line = block_in_place(|| self.worker.wait_until_after(mark, case.name, failed)).0;
        let said = line["message"].as_str().unwrap().strip_prefix(FAILED).unwrap();
        let reason = said.strip_prefix(&format!("version {version}: the pre plugin: ")).unwrap_or(said);
        assert!(fits(reason), "{}: expected {:?}, but the worker says: {said}", case.name, case.expected);
        let status = self.status();
        assert_eq!(status["error"], said, "{}", case.name);
        assert_eq!((&status["state"], &status["version"]), (&json!("failed"), &json!(self.serving)), "{}", case.name);
        let answer = ask(&self.site.client, SUBJECT, Bytes::from_static(b"anything")).await;
        assert_eq!(answer.version, self.serving, "{}: the old version answers", case.name);
    }

    /// The worker loads the module, and both messages get the expected answer.
    async fn answers(&mut self, case: &Case, version: &str) {
        let mark = self.worker.log_len();
        put(self.site, case, version).await;
        self.swapped(mark, version);
        let (code, said) = due(case);
        for _ in 0..2 {
            let answer = ask(&self.site.client, SUBJECT, Bytes::from(case.input.clone())).await;
            let sentence = said.as_ref().map(|said| sentence(version, said)).unwrap_or_default();
            assert_eq!((answer.code, answer.error), (code, sentence), "{}", case.name);
            assert_eq!(answer.payload, "", "{}", case.name);
        }
        self.logged(mark, case);
    }

    /// The module's log lines are in the worker's log.
    fn logged(&self, mut mark: usize, case: &Case) {
        let Served(reply) = &case.expected else { return };
        for (_, text) in &reply.log {
            let fits = |line: &Value| line["step"] == "pre" && line["message"] == *text;
            mark = block_in_place(|| self.worker.wait_until_after(mark, text, fits)).1;
        }
    }

    fn status(&self) -> Value {
        let (code, text) = self.worker.get("/status");
        assert_eq!(code, 200, "{text}");
        let status: Value = serde_json::from_str(&text).unwrap();
        let models = status["models"].as_array().unwrap();
        models.iter().find(|model| model["model"] == VICTIM).unwrap().clone()
    }
}

/// The code and the text of the answer to a call; neither for a call without result.
fn due(case: &Case) -> (Option<u16>, Option<String>) {
    match &case.expected {
        Call(fault) => (Some(code(fault)), Some(fault.to_string())),
        Served(reply) => match &reply.output {
            None => (None, None),
            // It is the pre plugin, and its answer was to be tensors.
            Some(output) => {
                let fault = Frame::decode(output).unwrap_err();
                (Some(502), Some(format!("the pre plugin's output is not a tensor frame: {fault}")))
            }
        },
        Load(_) | Invalid(_) => unreachable!("{} is not called", case.name),
    }
}

fn code(fault: &Fault) -> u16 {
    match fault.class() {
        FaultClass::Refused => 422,
        FaultClass::Trapped => 500,
        FaultClass::OutOfTime => 504,
        FaultClass::OverLimit => 507,
    }
}

/// As a header has it: one line of bounded length, without white space at its end.
fn sentence(version: &str, said: &str) -> String {
    let line: String = format!("{VICTIM} {version} pre: {said}").chars().take(inferbus::limits::ERROR_TEXT).collect();
    line.trim_end().to_owned()
}

/// Stores the module and its entry and activates it, without any check.
async fn put(site: &Site, case: &Case, version: &str) {
    let wasm = case.wasm();
    if wasm.is_empty() {
        let artifact = json!({ "digest": Digest::of(IDENTITY_MODEL), "size": IDENTITY_MODEL.len() });
        let entry = json!({ "model": artifact, "pre": { "digest": Digest::of(b""), "size": 0 } });
        site.put("models", &format!("{VICTIM}.{version}"), &entry.to_string()).await;
        site.put("models", VICTIM, version).await;
        return;
    }
    let grants = [("log", case.grants.log), ("emit", case.grants.emit)];
    let grants: Vec<&str> = grants.into_iter().filter(|(_, granted)| *granted).map(|(name, _)| name).collect();
    let bundle = BundleFolder::new(VICTIM, version).wasm("pre", &wasm, &format!("grants = {grants:?}"));
    site.activate(&bundle.table(&limits(&case.bounds))).await;
}

/// All bounds in the form of a manifest.
fn limits(bounds: &Bounds) -> String {
    let Bounds { memory, time, output, emits, emit_bytes, log_lines, log_bytes } = bounds;
    format!(
        "[limits]\nmemory = \"{memory}B\"\ntime = \"{}us\"\noutput = \"{output}B\"\nemits = {emits}\n\
         emit_bytes = \"{emit_bytes}B\"\nlog_lines = {log_lines}\nlog_bytes = \"{log_bytes}B\"",
        time.as_micros()
    )
}

/// A well-behaved model on the same worker, with requests without a pause; every answer is checked.
async fn neighbour(site: &Site) -> Background {
    let (client, heldout) = (connect(site.url()).await, heldout());
    let digits: Vec<_> = heldout.payloads.into_iter().zip(heldout.predictions).collect();
    Background::start(move |number| {
        let (client, (payload, prediction)) = (client.clone(), digits[number % digits.len()].clone());
        async move {
            let answer = ask(&client, "infer.digits", payload).await;
            assert_eq!(answer.json()["label"], prediction);
        }
    })
}
