//! Misuse: each kind gets its code and a sentence, is counted, and does not affect others.

use std::collections::BTreeMap;

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use futures_util::future::join_all;
use inferbus::dev_server::Settings;
use inferbus_abi::frame::DataType;
use inferbus_tests::plugin::{DATA, EMIT, MORE, TENSOR_DATA, error, frame, output, plugin, sensor_post, sensor_pre};
use inferbus_tests::{
    Answer, Background, BundleFolder, FIRST, PATIENCE, Site, Worker, WorkerOptions, answer, ask, until,
};
use tokio::task::block_in_place;

/// Each misuse happens this often: first one by one, then all at once.
const ROUNDS: u64 = 3;

/// The headroom of these tests' hostile plugins.
const LIMITS: &str = "[limits]\ntime = \"50ms\"\nmemory = \"1MiB\"\noutput = \"1KiB\"\nemits = 4";

/// A fault of a plugin, and the caller's answer.
struct Misdeed {
    name: &'static str,
    body: String,
    code: u16,
    outcome: &'static str,
    says: &'static str,
}

/// The text at `MORE`, for any use by a body.
const TEXT: &[u8] = b"the picture is upside down";

/// Every fault of a plugin in either stage. The bodies run first, with `TEXT` at `MORE`.
fn misdeeds() -> Vec<Misdeed> {
    let misdeed = |name, body: &str, code, outcome, says| Misdeed { name, body: body.into(), code, outcome, says };
    let returns = |value: i64| format!("(return (i64.const {value}))");
    let emits = |topic_len: usize, len: u32| {
        format!(
            "(loop (drop (call $emit (i32.const {MORE}) (i32.const {topic_len}) \
             (i32.const 0) (i32.const {len}))) (br 0))"
        )
    };
    let text = TEXT.len() as u32;
    vec![
        misdeed("refuses", &returns(error(MORE, text)), 422, "refused", "the picture is upside down"),
        misdeed("traps", "unreachable", 500, "trapped", "unreachable"),
        misdeed("divides", "(drop (i32.div_s (i32.const 1) (i32.const 0)))", 500, "trapped", "divided by zero"),
        misdeed("points-outside", &returns(output(0x7fff_0000, 64)), 500, "trapped", "outside its memory"),
        misdeed("emits-badly", &emits(TEXT.len(), 0), 500, "trapped", "the topic `the picture is upside down`"),
        misdeed("loops", "(loop (br 0))", 504, "out_of_time", "ran out of time after 50ms"),
        misdeed(
            "grows",
            "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
            507,
            "over_limit",
            "1 MiB (limits.memory)",
        ),
        misdeed("recurses", "(drop (call $transform (local.get $ptr) (local.get $len)))", 507, "over_limit", "stack"),
        misdeed(
            "returns-much",
            &returns(output(DATA, 1025)),
            507,
            "over_limit",
            "1025 bytes, more than 1 KiB (limits.output)",
        ),
        misdeed("emits-often", &emits(3, 0), 507, "over_limit", "4 messages (limits.emits)"),
        misdeed("emits-much", &emits(3, 262_144), 507, "over_limit", "emitted more than 1 MiB in all"),
    ]
}

/// One request, and its expected answer.
struct Case {
    model: String,
    payload: Bytes,
    content_type: Option<&'static str>,
    code: u16,
    /// The stage in the reply's header; none when the message was not tried.
    stage: Option<&'static str>,
    /// The label of the counter.
    outcome: &'static str,
    says: Vec<String>,
}

impl Case {
    fn tried(model: &str, payload: &[u8], code: u16, stage: &'static str, outcome: &'static str, says: &str) -> Self {
        let says = vec![format!("{model} {FIRST} {stage}: "), says.into()];
        Self {
            model: model.into(),
            payload: Bytes::copy_from_slice(payload),
            content_type: None,
            code,
            stage: Some(stage),
            outcome,
            says,
        }
    }

    fn refused(model: &str, code: u16, reason: &'static str, says: &[&str]) -> Self {
        let says = says.iter().map(ToString::to_string).collect();
        Self {
            model: model.into(),
            payload: Bytes::new(),
            content_type: None,
            code,
            stage: None,
            outcome: reason,
            says,
        }
    }

    async fn ask(&self, client: &Client) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some(content_type) = self.content_type {
            headers.insert("Content-Type", content_type);
        }
        let reply = client.request_with_headers(format!("infer.{}", self.model), headers, self.payload.clone()).await;
        answer(reply.unwrap_or_else(|fault| panic!("{}: {fault}", self.model)))
    }

    fn check(&self, answer: &Answer) {
        let model = &self.model;
        assert_eq!(answer.code, Some(self.code), "{model}: {}", answer.error);
        for says in &self.says {
            assert!(answer.error.contains(says), "{model}: `{}` does not say `{says}`", answer.error);
        }
        assert_eq!(answer.stage, self.stage.unwrap_or_default(), "{model}");
        assert_eq!(answer.version, if self.stage.is_some() { FIRST } else { "" }, "{model}");
        assert!(answer.payload.is_empty(), "{model}: an error without a payload");
    }

    /// The series of its counter.
    fn series(&self) -> String {
        match self.stage {
            Some(_) => format!(
                "inferbus_messages_total{{model=\"{}\",version=\"{FIRST}\",outcome=\"{}\"}}",
                self.model, self.outcome
            ),
            None => format!("inferbus_requests_rejected_total{{reason=\"{}\"}}", self.outcome),
        }
    }
}

const SENSOR: &[u8] = b"sixteen bytes :)";

/// Pushes a bundle for each misdeed in each stage.
async fn misbehaving_plugins(site: &Site) -> Vec<Case> {
    let mut cases = Vec::new();
    for stage in ["pre", "post"] {
        for Misdeed { name, body, code, outcome, says } in misdeeds() {
            let model = format!("{stage}-{name}");
            let (pre, post) = match stage {
                "pre" => (sensor_pre(EMIT, TEXT, &body), sensor_post("", b"", "")),
                _ => (sensor_pre("", b"", ""), sensor_post(EMIT, &text_at_more(), &body)),
            };
            let grants = |of| if of == stage { "grants = [\"emit\"]" } else { "" };
            let folder = BundleFolder::new(&model, FIRST)
                .plugin("pre", &pre, grants("pre"))
                .plugin("post", &post, grants("post"))
                .table(LIMITS);
            site.activate(&folder).await;
            cases.push(Case::tried(&model, SENSOR, code, stage, outcome, says));
        }
    }
    cases
}

/// `TEXT` at `MORE`, for a plugin with its data at `DATA`.
fn text_at_more() -> Vec<u8> {
    let mut data = vec![0; (MORE - DATA) as usize];
    data.extend(TEXT);
    data
}

/// Pushes bundles with a wrong output of `pre`.
async fn misfitting_plugins(site: &Site) -> Vec<Case> {
    let floats =
        |name, shape: &[u64]| frame(name, DataType::F32, shape, &vec![0; 4 * shape.iter().product::<u64>() as usize]);
    let mut cases = Vec::new();
    for (model, handed, stage, says) in [
        ("not-a-frame", b"IBT1 but nothing more".to_vec(), "pre", "the pre plugin's output is not a tensor frame"),
        (
            "other-shape",
            floats("x", &[1, 5]),
            "model",
            "the pre plugin's tensors do not fit the model: the model's input \"x\" takes the shape",
        ),
        (
            "other-rank",
            floats("x", &[4]),
            "model",
            "the pre plugin's tensors do not fit the model: the model's input \"x\" takes the shape",
        ),
        ("other-type", frame("x", DataType::F64, &[1, 4], &[0; 32]), "model", "takes f32, not f64"),
        ("other-name", floats("z", &[1, 4]), "model", "unknown input \"z\""),
        (
            "no-tensor",
            inferbus_abi::frame::encode(&[]).expect("a frame"),
            "model",
            "the model's input \"x\" was not given",
        ),
    ] {
        let pre = plugin("", &handed, &format!("(i64.const {})", output(DATA, handed.len() as u32)));
        site.activate(&BundleFolder::new(model, FIRST).plugin("pre", &pre, "")).await;
        cases.push(Case::tried(model, SENSOR, 502, stage, "misfit", says));
    }
    cases
}

/// Pushes bundles without plugins; their callers send tensors.
async fn bare_models(site: &Site) -> Vec<Case> {
    site.activate(&BundleFolder::new("bare", FIRST)).await;
    site.activate(&BundleFolder::new("gather", FIRST).network(include_bytes!("../models/gather.onnx"))).await;
    site.activate(&BundleFolder::new("wide", FIRST).network(include_bytes!("../models/wide.onnx"))).await;
    let good = frame("x", DataType::F32, &[1, 4], &[0; 16]);
    let bad = |payload: &[u8], stage, says| Case::tried("bare", payload, 400, stage, "bad_tensors", says);
    let text = Case {
        content_type: Some("text/plain"),
        payload: good.clone().into(),
        ..Case::refused(
            "bare",
            415,
            "content_type",
            &["bare 1.0.0: ", "`text/plain`", "application/x-inferbus-tensors"],
        )
    };
    vec![
        bad(b"", "model", "the payload is not a tensor frame"),
        bad(b"{\"inputs\":[]}", "model", "the payload is not a tensor frame"),
        bad(&good[..good.len() - 1], "model", "the payload is not a tensor frame"),
        bad(
            &frame("x", DataType::F32, &[1, 5], &[0; 20]),
            "model",
            "the payload's tensors do not fit the model: the model's input \"x\" takes the shape",
        ),
        bad(&frame("x", DataType::I64, &[1, 4], &[0; 32]), "model", "takes f32, not i64"),
        bad(&frame("picture", DataType::F32, &[1, 4], &[0; 16]), "model", "unknown input \"picture\""),
        text,
        Case::tried(
            "gather",
            &frame("x", DataType::I64, &[1], &99_i64.to_le_bytes()),
            500,
            "model",
            "model_failed",
            "the model failed: ONNX Runtime",
        ),
        Case::tried("wide", &good, 507, "model", "over_limit", "raise its max_payload"),
    ]
}

/// Missing models, and models without a loaded version.
async fn absent_models(site: &Site) -> Vec<Case> {
    site.activate(&BundleFolder::new("broken", FIRST).network(b"this is no ONNX file")).await;
    vec![
        Case::refused("nobody", 404, "unknown_model", &["`nobody`", "inferbus ls"]),
        Case::refused("NOT-A-NAME", 404, "unknown_model", &["`NOT-A-NAME`"]),
        Case::refused("broken", 503, "unavailable", &["`broken`", FIRST, "not an ONNX file"]),
    ]
}

/// A model served without a fault all the while.
fn neighbour(site: &Site) -> Background {
    let client = site.client.clone();
    Background::start(move |number| {
        let (client, payload) = (client.clone(), Bytes::copy_from_slice(&[number.to_le_bytes(); 2].concat()));
        async move {
            let answer = ask(&client, "infer.neighbour", payload.clone()).await;
            assert_eq!((answer.code, answer.payload), (None, payload), "{}", answer.error);
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn every_misuse_is_answered_and_counted_and_the_neighbour_never_notices() {
    let site = Site::start().await;
    let mut cases = misbehaving_plugins(&site).await;
    cases.extend(misfitting_plugins(&site).await);
    cases.extend(bare_models(&site).await);
    cases.extend(absent_models(&site).await);
    site.activate(&BundleFolder::sensor("neighbour", FIRST)).await;
    let mut worker = block_in_place(|| Worker::start(site.url()));
    let neighbour = neighbour(&site);

    for case in &cases {
        case.check(&case.ask(&site.client).await);
    }
    for _ in 1..ROUNDS {
        let answers = join_all(cases.iter().map(|case| case.ask(&site.client))).await;
        cases.iter().zip(&answers).for_each(|(case, answer)| case.check(answer));
    }
    let served = neighbour.finish().await as u64;
    assert!(served > 0);

    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    cases.iter().for_each(|case| *expected.entry(case.series()).or_default() += ROUNDS);
    block_in_place(|| {
        for (series, count) in expected {
            assert_eq!(worker.metric(&series), count as f64, "{series}");
        }
        assert_eq!(
            worker.metric("inferbus_messages_total{model=\"neighbour\",version=\"1.0.0\",outcome=\"ok\"}"),
            served as f64
        );
    });
    let failed = cases.len() as u64 * ROUNDS;
    let stats = ask(&site.client, "$SRV.STATS.inferbus", Bytes::new()).await.json();
    assert_eq!(stats["endpoints"][0]["num_errors"], failed, "{stats}");
    assert_eq!(stats["endpoints"][0]["num_requests"], failed + served, "{stats}");
    assert!(worker.is_running());
    assert!(!worker.log_text().contains("defect of the worker"), "{}", worker.log_text());
}

/// Sixteen bytes written only by `init`.
const LEFT_BY_INIT: &[u8] = b"left by the init";

/// The place of the hoarders' attempt to keep bytes from one message to the next.
const KEPT: u32 = 4096;

/// A plugin that returns the bytes found at `KEPT` before its message. It leaves its message there and in its own
/// data for the next. `secret` is the address of the message's sixteen bytes; a message beginning with `traps_on`
/// traps afterwards.
fn hoarder(
    own: &[u8],
    found_to: u32,
    message_to: u32,
    message: &str,
    secret: &str,
    traps_on: char,
    result: i64,
) -> String {
    let init = format!(
        r#"(func (export "init") (param i32 i32) (result i32)
    (memory.copy (i32.const {KEPT}) (i32.const {MORE}) (i32.const 16)) (i32.const 0))"#
    );
    let body = format!(
        r#"(memory.copy (i32.const {found_to}) (i32.const {KEPT}) (i32.const 16))
    (memory.copy (i32.const {message_to}) {message})
    (memory.copy (i32.const {KEPT}) {secret} (i32.const 16))
    (memory.copy (i32.const {MORE}) {secret} (i32.const 16))
    (if (i32.eq (i32.load8_u {secret}) (i32.const {})) (then unreachable))
    (i64.const {result})"#,
        traps_on as u32
    );
    let mut data = own.to_vec();
    data.resize((MORE - DATA) as usize, 0);
    data.extend(LEFT_BY_INIT);
    plugin(&init, &data, &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_one_message_is_seen_by_another() {
    let site = Site::start().await;
    // The bytes found by `pre` and the message pass the model as two rows of four floats.
    let rows = frame("x", DataType::F32, &[2, 4], &[0; 32]);
    let (first_row, second_row) = (DATA + TENSOR_DATA, DATA + TENSOR_DATA + 16);
    let whole_frame = output(DATA, rows.len() as u32);
    let pre =
        hoarder(&rows, first_row, second_row, "(local.get $ptr) (i32.const 16)", "(local.get $ptr)", 'T', whole_frame);
    let rows_given = format!("(i32.add (local.get $ptr) (i32.const {TENSOR_DATA})) (i32.const 32)");
    let secret_given = format!("(i32.add (local.get $ptr) (i32.const {}))", TENSOR_DATA + 16);
    let post = hoarder(b"", 8192, 8208, &rows_given, &secret_given, 'U', output(8192, 48));
    site.activate(&BundleFolder::new("hoarder", FIRST).plugin("pre", &pre, "").plugin("post", &post, "")).await;
    let _worker = block_in_place(|| Worker::start(site.url()));

    let secrets: Vec<Bytes> =
        (0..600).map(|number| format!("{}{number:015}", ['s', 'T', 's', 'U'][number % 4]).into()).collect();
    let answers = join_all(secrets.iter().map(|secret| ask(&site.client, "infer.hoarder", secret.clone()))).await;
    for (secret, answer) in secrets.iter().zip(answers) {
        match (secret[0], answer.stage.as_str()) {
            (b'T', "pre") | (b'U', "post") => assert_eq!(answer.code, Some(500), "{}", answer.error),
            // Both plugins found the bytes of `init`, and none of another message.
            _ => assert_eq!(answer.payload, [LEFT_BY_INIT, LEFT_BY_INIT, secret].concat(), "{}", answer.error),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_message_more_than_a_worker_takes_is_answered_at_once() {
    let site = Site::start().await;
    let slow = BundleFolder::new("slow", FIRST)
        .plugin("pre", &sensor_pre("", b"", "(loop (br 0))"), "")
        .table("[limits]\ntime = \"2s\"");
    site.activate(&slow).await;
    let options = WorkerOptions { arguments: ["--max-in-flight", "1"].map(Into::into).into(), ..Default::default() };
    let worker = block_in_place(|| Worker::start_with(site.url(), options));
    let slow = tokio::spawn({
        let client = site.client.clone();
        async move { ask(&client, "infer.slow", SENSOR.into()).await }
    });
    block_in_place(|| until("the first message is in flight", || worker.metric("inferbus_in_flight_messages") == 1.0));
    let case = Case::refused("slow", 429, "busy", &["slow: ", "1 messages", "retry later"]);
    case.check(&case.ask(&site.client).await);
    assert_eq!(slow.await.expect("an answer").code, Some(504), "the first is not disturbed");
    block_in_place(|| {
        assert_eq!(worker.metric(&case.series()), 1.0);
        until("the place is free again", || worker.metric("inferbus_in_flight_messages") == 0.0);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_larger_than_a_worker_takes_is_refused_whatever_the_server_lets_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("nats.conf");
    std::fs::write(&config, "max_payload: 80MB\nmax_pending: 160MB\n").expect("a configuration");
    let site = Site::start_with(Settings { config: Some(&config), ..Settings::default() }).await;
    site.activate(&BundleFolder::sensor("sensor", FIRST)).await;
    let worker = block_in_place(|| Worker::start(site.url()));
    let case = Case {
        payload: vec![0; inferbus::limits::PAYLOAD + 1].into(),
        ..Case::refused("sensor", 413, "payload_too_large", &["sensor 1.0.0: ", "67108865 bytes", "67108864"])
    };
    let answer = tokio::time::timeout(PATIENCE, case.ask(&site.client)).await.expect("an answer");
    case.check(&answer);
    block_in_place(|| assert_eq!(worker.metric(&case.series()), 1.0));
    assert_eq!(ask(&site.client, "infer.sensor", SENSOR.into()).await.payload, SENSOR);
}
