//! Programs without knowledge of Inferbus: the real `nats` command, a Python client, and an MQTT device.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use inferbus::dev_server::Settings;
use inferbus_tests::{FIRST, Ran, SECOND, Site, Worker, ask, heldout, nats_cli, python, root, run, say};
use serde_json::Value;
use tokio::task::block_in_place;

/// Records sent by a client one after another.
const COUNT: &str = "50";

const NO_NATS: &str = "interop: the real `nats` command is not here (`make test` builds it where Go is installed)";

#[tokio::test(flavor = "multi_thread")]
async fn nats_kv_put_changes_the_version() {
    let site = Site::with_digits().await;
    let workers = site.workers(["one", "two"]);
    let mut put = nats_cli(site.url()).map_or_else(
        || {
            say(&format!("{NO_NATS}: nats-py puts the version instead"));
            let mut put = python("put.py");
            put.args(["--server", site.url()]);
            put
        },
        |mut nats| {
            nats.args(["kv", "put"]);
            nats
        },
    );
    run(put.args(["models", "digits", SECOND])).ok();
    for worker in &workers {
        block_in_place(|| {
            worker.wait_until("the new version", |line| line["message"] == "in service" && line["version"] == SECOND)
        });
    }
    let answer = ask(&site.client, "infer.digits", heldout().payloads.swap_remove(0)).await;
    assert_eq!((answer.code, answer.version.as_str()), (None, SECOND), "{}", answer.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_micro_shows_every_worker() {
    let site = Site::with_digits().await;
    let _workers = site.workers(["one", "two"]);
    let Some(_) = nats_cli(site.url()) else {
        return say(&format!("{NO_NATS}: `nats micro` is not tried"));
    };
    let payload = heldout().payloads.swap_remove(0);
    for _ in 0..10 {
        assert_eq!(ask(&site.client, "infer.digits", payload.clone()).await.code, None);
    }
    assert_eq!(ask(&site.client, "infer.nobody", payload).await.code, Some(404));

    let listed = nats(&site, &["micro", "ls", "--json"]).json();
    let listed: Vec<&Value> =
        listed.as_array().expect("a list").iter().filter(|service| service["name"] == "inferbus").collect();
    assert_eq!(listed.len(), 2, "{listed:?}");
    let table = nats(&site, &["micro", "ls"]).ok();
    assert!(table.contains("inferbus"), "{table}");

    let id = listed[0]["id"].as_str().expect("an id");
    let info = nats(&site, &["micro", "info", "inferbus", id, "--json"]).json();
    let info = info.to_string();
    for words in ["infer.*", "runs ONNX models", "\"worker\""] {
        assert!(info.contains(words), "{words} is missing in {info}");
    }
    nats(&site, &["micro", "info", "inferbus"]).ok();

    let stats = nats(&site, &["micro", "stats", "inferbus", "--json"]).ok();
    let stats: Vec<Value> =
        serde_json::Deserializer::from_str(&stats).into_iter().map(|value| value.expect("JSON")).collect();
    let total = |key| {
        stats.iter().flat_map(one_by_one).filter_map(|service| service["endpoints"][0][key].as_u64()).sum::<u64>()
    };
    assert_eq!((total("num_requests"), total("num_errors")), (11, 1), "{stats:?}");
    nats(&site, &["micro", "stats", "inferbus"]).ok();
}

/// The command prints one service as an object and several as a list.
fn one_by_one(value: &Value) -> Vec<&Value> {
    value.as_array().map_or_else(|| vec![value], |list| list.iter().collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_req_asks_a_model() {
    let site = Site::with_digits().await;
    let _workers = site.workers(["one"]);
    let Some(mut nats) = nats_cli(site.url()) else {
        return say(&format!("{NO_NATS}: `nats req` is not tried"));
    };
    let heldout = heldout();
    let nats = nats.args(["req", "infer.digits", "--force-stdin", "--raw"]);
    let mut child =
        nats.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("nats starts");
    child.stdin.take().expect("a pipe").write_all(&heldout.payloads[0]).expect("the payload is taken");
    let output = child.wait_with_output().expect("nats ends");
    let reply: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|fault| panic!("{fault}: {output:?}"));
    assert_eq!(reply["label"].as_u64(), Some(heldout.predictions[0]), "{reply}");
}

fn nats(site: &Site, arguments: &[&str]) -> Ran {
    run(nats_cli(site.url()).expect("the nats command").args(arguments))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_asks_and_is_answered() {
    let site = Site::with_digits().await;
    let _workers = site.workers(["one", "two"]);
    let mut client = with_records(python("publisher_subscriber.py"), "request");
    let said = run(client.args(["--server", site.url(), "--subject", "infer.digits"])).ok();
    assert!(said.contains("0 wrong"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_publisher_and_subscriber_meet_over_a_route() {
    let site = Site::with_digits().await;
    let [worker] = site.workers(["one"]);
    add_route(&site, &worker, "camera.*", "digits.{{wildcard(1)}}");
    let mut client = with_records(python("publisher_subscriber.py"), "route");
    let said = run(client.args([
        "--server",
        site.url(),
        "--publish",
        "camera.7",
        "--subscribe",
        "digits.7",
        "--count",
        COUNT,
    ]))
    .ok();
    assert_eq!(said.trim(), format!("{COUNT} sent, {COUNT} answered, 0 wrong"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_mqtt_device_sends_and_receives() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("mqtt.conf");
    std::fs::write(&config, "server_name: gateway\nmqtt { host: 127.0.0.1, port: -1 }\n").expect("the configuration");
    let site =
        Site::start_with(Settings { store: Some(folder.path()), config: Some(&config), ..Settings::default() }).await;
    site.push_digits();
    let [worker] = site.workers(["one"]);
    add_route(&site, &worker, "sensors.cam.*", "inference.digits.{{wildcard(1)}}");
    let mut device = with_records(python("mqtt_client.py"), "");
    device.args([
        "--port",
        &mqtt_port(folder.path()),
        "--publish",
        "sensors/cam/7",
        "--subscribe",
        "inference/digits/7",
    ]);
    let said = run(device.args(["--count", COUNT])).ok();
    assert_eq!(said.trim(), format!("{COUNT} sent, {COUNT} answered, 0 wrong"));
}

/// The server logs this port before its readiness, and reports it in no other place.
fn mqtt_port(folder: &Path) -> String {
    let log = std::fs::read_to_string(folder.join("nats-server.log")).expect("the server's log");
    let line =
        log.lines().find(|line| line.contains("Listening for MQTT clients")).expect("the server has the gateway");
    line.rsplit(':').next().expect("a port").trim().to_owned()
}

/// Adds a route by the command and waits until the worker takes its messages.
fn add_route(site: &Site, worker: &Worker, subject: &str, output: &str) {
    site.inferbus(&["route", "add", "--subject", subject, "--model", "digits", "--output", output]).ok();
    block_in_place(|| {
        worker.wait_until("the route", |line| line["message"] == "route started" && line["subject"] == subject)
    });
}

fn with_records(mut client: Command, mode: &str) -> Command {
    let folder: PathBuf = root().join("plugins/examples/digits/model");
    client.args(Some(mode).filter(|mode| !mode.is_empty()));
    client.arg("--records").arg(folder.join("heldout.bin")).arg("--expect").arg(folder.join("heldout.json"));
    client
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_client_learns_that_nobody_listens() {
    let site = Site::start().await;
    let mut client = with_records(python("publisher_subscriber.py"), "request");
    let ran = run(client.args(["--server", site.url(), "--count", "1"]));
    assert_eq!(ran.code, Some(1), "{FIRST} is not there: {ran:?}");
    assert!(ran.stderr.contains("no responder on infer.digits"), "{ran:?}");
}
