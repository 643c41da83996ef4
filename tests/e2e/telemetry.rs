//! A worker's telemetry: spans to a real OTLP receiver, metrics, health, and the NATS services protocol.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_nats::HeaderMap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use inferbus_tests::{Answer, BundleFolder, FIRST, PATIENCE, Site, Worker, WorkerOptions, answer, ask};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::block_in_place;

const SENSOR: &[u8] = b"sixteen bytes :)";

/// The sender's place in its own trace.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

async fn sensor_site() -> Site {
    let site = Site::start().await;
    let folder = BundleFolder::sensor("sensor", FIRST);
    site.activate(&folder).await;
    site
}

async fn ask_in_trace(site: &Site, payload: &'static [u8]) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("traceparent", format!("00-{TRACE}-{PARENT}-01"));
    headers.insert("tracestate", "vendor=kept");
    answer(site.client.request_with_headers("infer.sensor", headers, payload.into()).await.expect("a reply"))
}

fn header(answer: &Answer, name: &str) -> String {
    answer.headers.get(name).map(ToString::to_string).unwrap_or_default()
}

/// A collector of spans, as OpenTelemetry specifies it over HTTP.
struct Collector {
    endpoint: String,
    spans: UnboundedReceiver<Span>,
}

impl Collector {
    async fn start() -> Self {
        let (sender, spans) = unbounded_channel();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::new(sender));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { endpoint, spans }
    }

    /// The next four spans, by name: one message and its stages.
    async fn message(&mut self) -> BTreeMap<String, Span> {
        let mut spans = BTreeMap::new();
        while spans.len() < 4 {
            let span = tokio::time::timeout(PATIENCE, self.spans.recv())
                .await
                .expect("spans in time")
                .expect("an open channel");
            let twice = spans.insert(span.name.clone(), span);
            assert!(twice.is_none(), "{twice:?} came twice");
        }
        spans
    }
}

async fn collect(State(spans): State<Arc<UnboundedSender<Span>>>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body).expect("an export request");
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    for span in scopes.flat_map(|scope| scope.spans) {
        // After the test, the receiver is gone.
        let _ = spans.send(span);
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, key: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key == key)?.value.clone()?.value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_a_span_in_the_senders_trace_with_its_stages_in_a_row() {
    let (site, mut collector) = (sensor_site().await, Collector::start().await);
    let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "50")];
    let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let _worker =
        block_in_place(|| Worker::start_with(site.url(), WorkerOptions { environment, ..Default::default() }));

    let answer = ask_in_trace(&site, SENSOR).await;
    assert_eq!(answer.payload, SENSOR);
    let spans = collector.message().await;
    assert_eq!(spans.keys().map(String::as_str).collect::<Vec<_>>(), ["message", "model", "post", "pre"]);
    let message = &spans["message"];
    assert_eq!((hex(&message.trace_id), hex(&message.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!(
        header(&answer, "traceparent"),
        format!("00-{TRACE}-{}-01", hex(&message.span_id)),
        "later spans are children of the message"
    );
    assert_eq!(header(&answer, "tracestate"), "vendor=kept");
    assert_eq!(attribute(message, "model"), Some(Value::StringValue("sensor".into())));
    assert_eq!(attribute(message, "version"), Some(Value::StringValue(FIRST.into())));

    let stages = ["pre", "model", "post"].map(|name| &spans[name]);
    for stage in stages {
        assert_eq!((hex(&stage.trace_id), &stage.parent_span_id), (TRACE.into(), &message.span_id), "{}", stage.name);
    }
    let edges = stages.map(|stage| [stage.start_time_unix_nano, stage.end_time_unix_nano]).concat();
    let all = [vec![message.start_time_unix_nano], edges, vec![message.end_time_unix_nano]].concat();
    assert!(all.is_sorted(), "one after the other within the message: {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_a_trace_begins_one_and_a_failed_one_says_its_code() {
    let (site, mut collector) = (sensor_site().await, Collector::start().await);
    let arguments = vec!["--otlp-endpoint".to_owned(), collector.endpoint.clone()];
    let worker = block_in_place(|| Worker::start_with(site.url(), WorkerOptions { arguments, ..Default::default() }));
    let good = ask(&site.client, "infer.sensor", SENSOR.into()).await;
    let bad = ask(&site.client, "infer.sensor", "short".into()).await;
    assert_eq!(bad.code, Some(422), "{}", bad.error);
    // A stopping worker exports its last spans, even with a long export interval.
    assert_eq!(block_in_place(|| worker.stop()), Some(0));

    let spans = collector.message().await;
    let begun = &spans["message"];
    assert!(begun.parent_span_id.is_empty(), "{begun:?}");
    assert_eq!(header(&good, "traceparent"), format!("00-{}-{}-01", hex(&begun.trace_id), hex(&begun.span_id)));
    assert_eq!(attribute(begun, "code"), None);
    let mut failed = [collector.spans.recv().await.expect("pre"), collector.spans.recv().await.expect("message")];
    failed.sort_by(|left, right| left.name.cmp(&right.name));
    assert_eq!([&*failed[0].name, &*failed[1].name], ["message", "pre"]);
    assert_eq!(attribute(&failed[0], "code"), Some(Value::IntValue(422)));
    let [good, bad] = [begun, &failed[0]].map(|span| span.status.as_ref().map(|status| status.code()));
    assert_eq!((good, bad), (Some(StatusCode::Unset), Some(StatusCode::Error)));
    assert_ne!(failed[0].trace_id, begun.trace_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_the_trace_comes_back_as_it_went() {
    let site = sensor_site().await;
    let _worker = block_in_place(|| Worker::start(site.url()));
    for (payload, code) in [(SENSOR, None), (b"short".as_slice(), Some(422))] {
        let answer = ask_in_trace(&site, payload).await;
        assert_eq!(answer.code, code, "{}", answer.error);
        assert_eq!(header(&answer, "traceparent"), format!("00-{TRACE}-{PARENT}-01"));
        assert_eq!(header(&answer, "tracestate"), "vendor=kept");
    }
}

/// Parses Prometheus text strictly: the series' names, and the value of each line.
fn parse(text: &str) -> (BTreeSet<String>, BTreeMap<String, f64>) {
    let (mut names, mut values) = (BTreeSet::new(), BTreeMap::new());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            assert_eq!(lines.peek(), None, "nothing follows the end");
            return (names, values);
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let kind = comment.split(' ').next().unwrap_or_default();
            assert!(["HELP", "TYPE", "UNIT"].contains(&kind), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in `{line}`"));
        let name = series.split('{').next().unwrap_or_default();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
        assert!(series.len() == name.len() || series.ends_with('}'), "{line}");
        names.insert(name.to_owned());
        let value = value.parse().unwrap_or_else(|_| panic!("`{value}` is no number in `{line}`"));
        assert_eq!(values.insert(series.to_owned(), value), None, "{series} is there twice");
    }
    panic!("the end of the text is missing:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_prometheus_text_and_count_what_happened() {
    let site = sensor_site().await;
    let worker = block_in_place(|| Worker::start(site.url()));
    for payload in [SENSOR, b"short", SENSOR] {
        ask(&site.client, "infer.sensor", payload.into()).await;
    }
    ask(&site.client, "infer.nobody", SENSOR.into()).await;
    let (code, text) = block_in_place(|| worker.get("/metrics"));
    assert_eq!(code, 200);
    let (names, values) = parse(&text);
    let expected = "inferbus_messages_total inferbus_step_seconds_bucket inferbus_step_seconds_count \
        inferbus_step_seconds_sum inferbus_wait_seconds_count inferbus_requests_rejected_total inferbus_bundle_info \
        inferbus_bundle_swaps_total inferbus_in_flight_messages inferbus_emitted_messages_total \
        inferbus_publish_failures_total inferbus_nats_slow_consumers_total inferbus_nats_connected \
        inferbus_nats_connects_total";
    for name in expected.split_whitespace() {
        assert!(names.contains(name), "{name} is not in {names:?}");
    }
    let sensor = format!("model=\"sensor\",version=\"{FIRST}\"");
    let value = |series: &str| values.get(series).copied().unwrap_or_else(|| panic!("no {series} in\n{text}"));
    assert_eq!(value(&format!("inferbus_messages_total{{{sensor},outcome=\"ok\"}}")), 2.0);
    assert_eq!(value(&format!("inferbus_messages_total{{{sensor},outcome=\"refused\"}}")), 1.0);
    assert_eq!(value("inferbus_requests_rejected_total{reason=\"unknown_model\"}"), 1.0);
    assert_eq!(value("inferbus_nats_connected"), 1.0);
    assert_eq!(value("inferbus_bundle_swaps_total{model=\"sensor\"}"), 1.0);
    for (step, count) in [("pre", 3.0), ("model", 2.0), ("post", 2.0)] {
        assert_eq!(value(&format!("inferbus_step_seconds_count{{{sensor},step=\"{step}\"}}")), count);
    }
    assert!(!text.contains("nobody"), "labels never come from a message");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_readiness_and_status_say_what_runs() {
    let site = sensor_site().await;
    let options = WorkerOptions { name: Some("teller".into()), ..Default::default() };
    let worker = block_in_place(|| Worker::start_with(site.url(), options));
    let digest = ask(&site.client, "infer.sensor", SENSOR.into()).await.digest;
    let status = block_in_place(|| {
        assert_eq!(worker.get("/healthz"), (200, "alive\n".into()));
        assert_eq!(worker.get("/readyz"), (200, "ready\n".into()));
        assert_eq!(worker.get("/nowhere").0, 404);
        worker.get("/status").1
    });
    let mut status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    let model = status["models"][0].as_object_mut().expect("a model");
    let [half, nearly_all] =
        ["p50_micros", "p99_micros"].map(|share| model.remove(share).and_then(|time| time.as_u64()));
    let spent = ["queue", "batch", "compute"].map(|stage| {
        ["p50", "p99"].map(|share| model.remove(&format!("{stage}_{share}_micros")).and_then(|time| time.as_u64()))
    });
    let [queue, batch, compute] = spent.map(|[half, nearly_all]| half.is_some() && half <= nearly_all);
    assert!(queue && !batch && compute, "it waited and was computed, alone: {spent:?}");
    assert_eq!(model.remove("messages_per_run"), Some(serde_json::json!(1.0)));
    assert!(model.remove("memory_bytes").and_then(|bytes| bytes.as_u64()) > Some(0));
    assert!(model.remove("idle_seconds").is_some_and(|seconds| seconds.is_u64()));
    assert!(half > Some(0) && half <= nearly_all, "one message was answered: {half:?} {nearly_all:?}");
    assert_eq!(
        (&status["worker"], &status["ready"], &status["unready"]),
        (&"teller".into(), &true.into(), &serde_json::json!([]))
    );
    let expected = serde_json::json!({
        "model": "sensor", "version": FIRST, "digest": digest, "wanted": FIRST, "state": "serving", "error": null
    });
    assert_eq!(status["models"], serde_json::json!([expected]));

    // A model without a loadable version makes the worker unready; the reason names the model.
    let mark = worker.log_len();
    site.activate(&BundleFolder::new("broken", FIRST).network(b"no model")).await;
    block_in_place(|| {
        worker.wait_until_after(mark, "that it cannot be served", |line| {
            line["model"] == "broken" && line["level"] == "ERROR"
        });
        let (code, reason) = worker.get("/readyz");
        assert_eq!(code, 503);
        assert!(reason.contains("broken: ") && reason.contains("not an ONNX file"), "{reason}");
        assert_eq!(worker.get("/healthz").0, 200);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_answers_as_a_nats_service() {
    let site = sensor_site().await;
    let options = WorkerOptions { name: Some("teller".into()), ..Default::default() };
    let worker = block_in_place(|| Worker::start_with(site.url(), options));
    ask(&site.client, "infer.sensor", SENSOR.into()).await;
    ask(&site.client, "infer.sensor", "short".into()).await;

    let ping = ask(&site.client, "$SRV.PING", Bytes::new()).await.json();
    assert_eq!(ping["type"], "io.nats.micro.v1.ping_response");
    assert_eq!(
        (&ping["name"], &ping["metadata"]["worker"], &ping["metadata"]["admin"]),
        (&"inferbus".into(), &"teller".into(), &worker.admin.clone().into())
    );
    assert!(ping["version"].as_str().is_some_and(|version| version.split('.').count() == 3), "{ping}");
    let id = ping["id"].as_str().expect("an id");

    for subject in ["$SRV.INFO".to_owned(), "$SRV.INFO.inferbus".to_owned(), format!("$SRV.INFO.inferbus.{id}")] {
        let info = ask(&site.client, &subject, Bytes::new()).await.json();
        assert_eq!((&info["type"], &info["id"]), (&"io.nats.micro.v1.info_response".into(), &id.into()), "{subject}");
        assert!(info["description"].is_string(), "{info}");
        let endpoint = &info["endpoints"][0];
        assert_eq!(
            (&endpoint["name"], &endpoint["subject"], &endpoint["queue_group"]),
            (&"infer".into(), &"infer.*".into(), &"inferbus".into())
        );
    }
    let stats = ask(&site.client, &format!("$SRV.STATS.inferbus.{id}"), Bytes::new()).await.json();
    assert_eq!(stats["type"], "io.nats.micro.v1.stats_response");
    assert!(stats["started"].as_str().is_some_and(|time| time.contains('T') && time.ends_with('Z')), "{stats}");
    let endpoint = &stats["endpoints"][0];
    assert_eq!((&endpoint["num_requests"], &endpoint["num_errors"]), (&2.into(), &1.into()), "{stats}");
    let (whole, average) =
        (endpoint["processing_time"].as_u64().expect("ns"), endpoint["average_processing_time"].as_u64().expect("ns"));
    assert!(average > 0 && whole == average * 2 || whole == average * 2 + 1, "{stats}");
    assert!(
        endpoint["last_error"].as_str().is_some_and(|error| error.starts_with("422:sensor 1.0.0 pre: ")),
        "{stats}"
    );
    assert_eq!(endpoint["data"]["models"][0]["model"], "sensor");
}
