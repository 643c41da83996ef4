//! The Open Inference Protocol V2: its real clients, over NATS and over bare HTTP.

use async_nats::HeaderMap;
use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use inferbus_tests::plugin::sensor_pre;
use inferbus_tests::{
    Answer, BundleFolder, PATIENCE, Site, Worker, WorkerOptions, answer, heldout, http, python, run, until,
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const KINDS: &[u8] = include_bytes!("../models/kinds.onnx");

/// With a model of every type, and one of f32 alone.
async fn site() -> Site {
    let site = Site::start().await;
    site.activate(&BundleFolder::new("kinds", "1.0.0").network(KINDS)).await;
    site.activate(&BundleFolder::new("identity", "1.0.0")).await;
    site
}

fn four(data: [f32; 4]) -> Vec<u8> {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": data});
    serde_json::to_vec(&json!({"id": "7", "inputs": [input]})).expect("JSON")
}

async fn ask_as(site: &Site, subject: &str, content_type: &str, payload: Vec<u8>) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", content_type);
    let reply = site.client.request_with_headers(subject.to_owned(), headers, payload.into()).await;
    answer(reply.unwrap_or_else(|fault| panic!("no reply on {subject}: {fault}")))
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map(|value| value.as_str()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_of_the_protocol_asks_over_http() {
    let site = site().await;
    let [worker] = site.workers(["one"]);
    let said = run(python("open_inference.py").args(["http", "--address", &worker.admin])).ok();
    assert_eq!(said.trim(), "6 checks went well");
    assert_eq!(worker.metric("inferbus_in_flight_messages"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_in_python_asks_over_nats() {
    let site = site().await;
    let _workers = site.workers(["one", "two"]);
    let said = run(python("open_inference.py").args(["nats", "--server", site.url()])).ok();
    assert_eq!(said.trim(), "4 checks went well");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_nats_is_answered_in_its_own_form() {
    let site = site().await;
    let _workers = site.workers(["one"]);
    let given = ask_as(&site, "infer.identity", "application/json; charset=utf-8", four([1.0, -0.5, 0.1, 3e38])).await;
    assert_eq!(header(&given, "Content-Type"), "application/json");
    let output = json!({"name": "y", "datatype": "FP32", "shape": [1, 4], "data": [1.0, -0.5, 0.1, 3e38]});
    let expected = json!({"model_name": "identity", "model_version": "1.0.0", "id": "7", "outputs": [output]});
    assert_eq!(given.json(), expected);

    let body = |given: &Answer| serde_json::from_slice::<Value>(&given.payload).expect("JSON")["error"].clone();
    let wrong = ask_as(&site, "infer.identity", "application/json", b"{\"inputs\":[{}]}".to_vec()).await;
    assert_eq!((wrong.code, header(&wrong, "Content-Type")), (Some(400), "application/json"));
    assert!(wrong.error.contains("`name` is missing"), "{}", wrong.error);
    assert_eq!(body(&wrong), wrong.error.as_str());
    let unknown = ask_as(&site, "infer.nobody", "application/json", Vec::new()).await;
    assert_eq!((unknown.code, body(&unknown)), (Some(404), unknown.error.as_str().into()));
    let other = ask_as(&site, "infer.identity", "text/plain", Vec::new()).await;
    assert_eq!((other.code, other.payload.len()), (Some(415), 0), "{}", other.error);
    assert!(other.error.contains("application/msgpack"), "{}", other.error);
    let not_a_number = ask_as(
        &site,
        "infer.identity",
        "application/json",
        br#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,4],"data":[NaN,0,0,0]}]}"#.to_vec(),
    )
    .await;
    assert!(not_a_number.error.contains("NaN or infinity"), "{}", not_a_number.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_about_a_model_with_plugins_name_them() {
    let site = Site::with_digits().await;
    let _workers = site.workers(["one", "two"]);
    let model = site.client.request("infer.digits.metadata", "".into()).await.expect("a reply");
    let model: Value = serde_json::from_slice(&model.payload).expect("JSON");
    assert_eq!((&model["name"], &model["platform"]), (&json!("digits"), &json!("inferbus_onnx")));
    assert_eq!((&model["parameters"]["pre"], &model["parameters"]["post"]), (&json!(true), &json!(true)), "{model}");
    assert!(model["parameters"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")), "{model}");
    assert_eq!(model["inputs"][0]["shape"][0], -1, "{model}");
    let unknown = answer(site.client.request("infer.nobody.metadata", "".into()).await.expect("a reply"));
    assert_eq!(unknown.code, Some(404), "{}", unknown.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_with_plugins_takes_bytes_over_http() {
    let site = Site::with_digits().await;
    let [worker] = site.workers(["one"]);
    let heldout = heldout();
    let payload = &heldout.payloads[0];
    let path = "/v2/models/digits/infer";
    let given = worker.post(path, &[("Content-Type", "application/octet-stream")], payload);
    assert_eq!(given.code, 200, "{given:?}");
    assert_eq!(given.json()["label"].as_u64(), Some(heldout.predictions[0]));
    assert!(given.head.contains("inferbus-version: 1.0.0"), "{}", given.head);
    let broken = worker.post(path, &[], b"junk");
    assert_eq!(broken.code, 422, "{broken:?}");
    assert!(broken.json()["error"].as_str().is_some_and(|text| text.starts_with("digits 1.0.0 pre:")), "{broken:?}");
    let tensors = worker.post(path, &[("Content-Type", "application/json")], b"{}");
    assert_eq!(tensors.code, 415, "{tensors:?}");
    assert!(tensors.json()["error"].to_string().contains("has a pre plugin"), "{tensors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_over_http_is_told() {
    let site = site().await;
    let [worker] = site.workers(["one"]);
    let path = "/v2/models/identity/infer";
    let good = worker.post(path, &[], &four([0.0; 4]));
    assert_eq!(good.code, 200, "{good:?}");
    assert!(good.head.contains("content-type: application/json"), "{}", good.head);
    let mut cases = vec![
        ("POST", "/v2/models/nobody/infer", None, 404, "no model `nobody`"),
        ("POST", "/v2/models/identity/versions/1.0.1/infer", None, 404, "1.0.0 is active"),
        ("POST", "/v2/models/identity/versions/1.0.0/infer", None, 200, ""),
        ("GET", path, None, 405, "GET is not for"),
        ("GET", "/v2/nothing", None, 404, "nothing at /v2/nothing"),
        ("POST", path, Some(("Content-Type", "text/html")), 415, "text/html"),
        ("POST", path, Some(("Content-Encoding", "deflate")), 415, "deflate"),
        ("POST", path, Some(("Inference-Header-Content-Length", "x")), 400, "not a number of bytes"),
        ("POST", path, Some(("Inference-Header-Content-Length", "9999")), 400, "Content-Length is 9999"),
        ("GET", "/v2/models/identity/ready", None, 200, ""),
        ("GET", "/v2/models/nobody/ready", None, 404, "nobody"),
    ];
    for (method, path, more, code, says) in cases.drain(..) {
        let given = worker.http(method, path, more.as_slice(), &four([0.0; 4]));
        assert_eq!(given.code, code, "{method} {path} {more:?}: {given:?}");
        let said = given.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(says), "{method} {path} {more:?}: {said}");
    }
    let sent = |head: &str| {
        let text = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n");
        worker.read(http::send(&worker.admin, text.as_bytes()).expect("a connection"))
    };
    assert_eq!(sent("Content-Length: 999999999").code, 413);
    assert_eq!(sent("Transfer-Encoding: chunked\r\n\r\n0").code, 411);
    assert_eq!(worker.metric("inferbus_in_flight_messages"), 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn inference_over_http_can_be_off() {
    let site = site().await;
    let options = WorkerOptions { arguments: vec!["--no-http-infer".into()], ..WorkerOptions::default() };
    let worker = Worker::start_with(site.url(), options);
    let given = worker.post("/v2/models/identity/infer", &[], &four([0.0; 4]));
    assert_eq!(given.code, 403, "{given:?}");
    assert!(given.json()["error"].to_string().contains("--no-http-infer"), "{given:?}");
    assert_eq!(worker.get("/v2/models/identity").0, 200);
    let over_nats = ask_as(&site, "infer.identity", "application/json", four([0.0; 4])).await;
    assert_eq!(over_nats.code, None, "{}", over_nats.error);
}

/// A bundle with two seconds of work, and then code 504.
fn slow() -> BundleFolder {
    let never_ends = sensor_pre("", b"", "(loop (br 0))");
    BundleFolder::new("slow", "1.0.0").plugin("pre", &never_ends, "").table("[limits]\ntime = \"2s\"")
}

const SLOW: &str = "/v2/models/slow/infer";

#[tokio::test(flavor = "multi_thread")]
async fn a_request_over_http_that_was_taken_is_answered_though_the_worker_stops() {
    let site = site().await;
    site.activate(&slow()).await;
    let [worker] = site.workers(["one"]);
    let asked = worker.asking("POST", SLOW, &[], b"x");
    until("the worker has it", || worker.metric("inferbus_in_flight_messages") == 1.0);
    worker.terminate();
    block_in_place(|| worker.wait_for("worker stopping"));
    let late = worker.post("/v2/models/identity/infer", &[], &four([0.0; 4]));
    assert_eq!(late.code, 503, "{late:?}");
    let given = worker.read(asked);
    assert_eq!(given.code, 504, "{given:?}");
    assert_eq!(block_in_place(|| worker.end()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_gives_its_place_back() {
    let site = site().await;
    site.activate(&slow()).await;
    let options =
        WorkerOptions { arguments: ["--max-in-flight", "1"].map(Into::into).into(), ..WorkerOptions::default() };
    let worker = Worker::start_with(site.url(), options);
    let asked = worker.asking("POST", SLOW, &[], b"x");
    until("the worker has it", || worker.metric("inferbus_in_flight_messages") == 1.0);
    let busy = worker.post("/v2/models/identity/infer", &[], &four([0.0; 4]));
    assert_eq!(busy.code, 429, "{busy:?}");
    drop(asked);
    until("its place is free", || worker.metric("inferbus_in_flight_messages") == 0.0);
    assert_eq!(worker.post("/v2/models/identity/infer", &[], &four([0.0; 4])).code, 200);
    assert_eq!(worker.metric("inferbus_messages_total{model=\"slow\""), 1.0);
}

/// A result larger than the server's limit still reaches a client over HTTP, because no server is involved.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_over_http_may_be_larger_than_a_message() {
    const WIDE: usize = 400_000;
    let site = site().await;
    site.activate(&BundleFolder::new("wide", "1.0.0").network(include_bytes!("../models/wide.onnx"))).await;
    let [worker] = site.workers(["one"]);
    let given = worker.post("/v2/models/wide/infer", &[], &four([1.0, 2.0, 3.0, 4.0]));
    assert_eq!(given.code, 200, "{}", given.head);
    assert_eq!(given.json()["outputs"][0]["data"].as_array().map(Vec::len), Some(WIDE));
    let over_nats = ask_as(&site, "infer.wide", "application/json", four([1.0, 2.0, 3.0, 4.0])).await;
    assert_eq!(over_nats.code, Some(507), "{}", over_nats.error);
}

/// A stored request has a result in its own form, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_takes_requests_of_the_protocol() {
    let site = site().await;
    let context = jetstream::new(site.client.clone());
    let stream = stream::Config { name: "ASKED".into(), subjects: vec!["asked.*".into()], ..Default::default() };
    context.create_stream(stream).await.expect("a stream");
    let route = ["route", "add", "--name", "asked", "--stream", "ASKED", "--subject", "asked.*"];
    let to = ["--model", "identity", "--output", "answered.{{wildcard(1)}}"];
    site.inferbus(&[&route[..], &to[..]].concat()).ok();
    let mut results = site.client.subscribe("answered.*").await.expect("a subscription");
    let _workers = site.workers(["one"]);
    let mut headers = HeaderMap::new();
    headers.insert("Content-Type", "application/json");
    let sent = context.publish_with_headers("asked.7", headers, four([1.0, 2.0, 3.0, 4.0]).into()).await;
    sent.expect("a connection").await.expect("it is stored");
    let result = tokio::time::timeout(PATIENCE, results.next()).await.expect("in time").expect("a result");
    let result = answer(result);
    assert_eq!(header(&result, "Content-Type"), "application/json");
    assert_eq!(result.json()["outputs"][0]["data"], json!([1.0, 2.0, 3.0, 4.0]));
}
