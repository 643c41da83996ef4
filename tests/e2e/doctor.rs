//! `inferbus doctor` on sound deployments, and on deployments with one fault each.

use async_nats::jetstream::{self, stream};
use futures_util::StreamExt as _;
use inferbus::dev_server::Settings;
use inferbus_tests::roles::{Deployment, Proof, Role};
use inferbus_tests::{Ran, Site, Worker, digits, until};
use serde_json::Value;
use tokio::task::block_in_place;

const ROUTE: [&str; 8] = [
    "route",
    "add",
    "--name=cams",
    "--stream=SENSORS",
    "--subject=sensors.*",
    "--model=digits",
    "--output=inference.cam.$1",
    "--ack-wait=1s",
];

/// Every finding other than `ok`, as `check level what`.
fn found(ran: Ran, code: i32) -> Vec<String> {
    assert_eq!(ran.code, Some(code), "{}{}", ran.stdout, ran.stderr);
    let findings: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    let mut found = Vec::new();
    for finding in findings.iter().filter(|finding| finding["level"] != "ok") {
        assert!(finding["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{finding}");
        let text = |key: &str| finding[key].as_str().expect("text");
        found.push(format!("{} {} {}", text("check"), text("level"), text("message")));
    }
    found
}

/// A server with or without synchronous writes to disk.
async fn site(sync: &str) -> Site {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("server.conf");
    std::fs::write(&config, format!("http: 127.0.0.1:-1\njetstream {{ {sync} }}")).expect("the configuration");
    let site = Site::start_with(Settings { config: Some(&config), ..Settings::default() }).await;
    site.push_digits();
    site
}

fn doctor(site: &Site, more: &[&str], code: i32) -> Vec<String> {
    let monitor = site.server.monitor().expect("it is monitored");
    let mut arguments = vec!["doctor", "--output", "json", "--monitor", monitor];
    arguments.extend(more);
    found(site.inferbus(&arguments), code)
}

#[track_caller]
fn finds(found: &[String], start: &str, words: &str) {
    let fits = found.iter().any(|finding| finding.starts_with(start) && finding.contains(words));
    assert!(fits, "no `{start}` with `{words}` in {found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_found_where_nothing_is_wrong() {
    let site = site("sync_interval: always").await;
    block_in_place(|| {
        site.inferbus(&ROUTE).ok();
        let _workers = site.workers(["one", "two"]);
        assert_eq!(doctor(&site, &["--as-worker"], 0), [""; 0]);
        let told = site.inferbus(&["doctor"]);
        assert_eq!(told.code, Some(0), "{told:?}");
        assert!(told.stdout.contains("unknown  disk"), "{}", told.stdout);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_break_the_promises_are_found() {
    let site = site("").await;
    block_in_place(|| site.inferbus(&ROUTE)).ok();
    let streams = jetstream::new(site.client.clone());
    let mut results =
        streams.get_stream("INFERBUS_RESULTS_cams").await.expect("the results").cached_info().config.clone();
    results.duplicate_window = std::time::Duration::from_secs(60);
    results.max_age = std::time::Duration::from_secs(60);
    streams.update_stream(&results).await.expect("a shorter age");
    let greedy = stream::Config { name: "GREEDY".into(), subjects: vec!["infer.>".into()], ..Default::default() };
    streams.create_stream(greedy).await.expect("a stream");
    let published = streams.publish("sensors.1", "no picture".into()).await.expect("sent");
    published.await.expect("stored");

    let found = block_in_place(|| doctor(&site, &[], 1));
    finds(&found, "disk danger", "SENSORS");
    finds(&found, "capture danger", "GREEDY");
    finds(&found, "readers danger", "1 messages of the route cams");
    finds(&found, "workers warning", "no worker answers");
    assert!(!found.iter().any(|finding| finding.starts_with("routes")), "{found:#?}");

    // The message becomes a dead letter; the results are deleted under the worker's hands, and then the route.
    let worker = block_in_place(|| Worker::start(site.url()));
    block_in_place(|| until("the message ended", || worker.metric("inferbus_stream_messages_total{") >= 1.0));
    drop(worker);
    streams.delete_stream("INFERBUS_RESULTS_cams").await.expect("deleted");
    let found = block_in_place(|| doctor(&site, &[], 1));
    finds(&found, "dead-letters warning", "1 dead letters");
    finds(&found, "routes danger", "misses its stream INFERBUS_RESULTS_cams");
    block_in_place(|| site.inferbus(&["route", "rm", "cams"])).ok();
    let found = block_in_place(|| doctor(&site, &[], 1));
    finds(&found, "leftovers warning", "inferbus-cams of the stream SENSORS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_that_a_new_worker_could_not_load_is_found() {
    let site = site("sync_interval: always").await;
    let [_worker] = block_in_place(|| site.workers(["one"]));
    site.put("models", "digits", "9.9.9").await;
    site.put("models", "gone", "{").await;
    site.put("routes", "broken", "{").await;
    let found = block_in_place(|| doctor(&site, &[], 1));
    finds(&found, "catalog danger", "digits cannot be loaded");
    finds(&found, "catalog danger", "gone cannot be loaded");
    finds(&found, "routes danger", "the route broken cannot be read");

    site.put("models", "digits", "1.0.0").await;
    jetstream::new(site.client.clone()).delete_object_store("artifacts").await.expect("deleted");
    let found = block_in_place(|| doctor(&site, &[], 0));
    finds(&found, "catalog unknown", "artifacts");
}

/// A worker of another version, as it introduces itself.
#[tokio::test(flavor = "multi_thread")]
async fn workers_of_two_versions_and_slow_models_are_found() {
    let site = site("sync_interval: always").await;
    block_in_place(|| site.inferbus(&ROUTE)).ok();
    let [_worker] = block_in_place(|| site.workers(["one"]));
    let mut questions = site.client.subscribe("$SRV.STATS.inferbus").await.expect("a subscription");
    let other = tokio::spawn({
        let client = site.client.clone();
        async move {
            while let Some(question) = questions.next().await {
                let stats = r#"{"type":"io.nats.micro.v1.stats_response","name":"inferbus","id":"x","version":"0.0.9",
                    "started":"2026-01-01T00:00:00Z",
                    "endpoints":[{"name":"infer","subject":"infer.*","queue_group":"inferbus",
                        "num_requests":0,"num_errors":0,"processing_time":0,"average_processing_time":0,"last_error":"",
                    "data":{"worker":"old","ready":true,"unready":[],"catalog":null,"in_flight":0,"models":[
                    {"model":"digits","version":"1.0.0","digest":null,"wanted":null,
                        "state":"serving","error":null,"p50_micros":10,"p99_micros":4000000}]}}]}"#;
                client.publish(question.reply.expect("a reply subject"), stats.into()).await.expect("sent");
            }
        }
    });
    // After an answer on the same connection, the server has the subscription.
    jetstream::new(site.client.clone()).get_stream("SENSORS").await.expect("the stream");
    let found = block_in_place(|| doctor(&site, &[], 0));
    other.abort();
    finds(&found, "versions warning", "1 of 0.0.9");
    finds(&found, "ack-wait warning", "digits 1.0.0");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_hears_what_it_may() {
    let deployment = Deployment::start(Proof::Keys).await;
    let route = [
        "--name=cameras",
        "--stream=SENSORS",
        "--subject=sensors.cam.*",
        "--model=digits",
        "--output=inference.cam.$1",
    ];
    block_in_place(|| {
        deployment.inferbus(Role::Operator, &[&["route", "add"], route.as_slice()].concat()).ok();
        let bundle = digits("1.0.0");
        deployment.inferbus(Role::Catalog, &["push", bundle.to_str().expect("UTF-8"), "--activate"]).ok();
        let _worker = Worker::start_with(deployment.url(), deployment.worker_options());
        let doctor = ["doctor", "--output", "json", "--monitor", deployment.monitor()];
        assert_eq!(found(deployment.inferbus(Role::Operator, &doctor), 0), [""; 0]);

        // The worker's list is complete, and names every missing permission.
        let as_worker = [doctor.as_slice(), &["--as-worker"]].concat();
        let as_seen = found(deployment.inferbus(Role::Worker, &as_worker), 0);
        assert!(as_seen.iter().all(|finding| finding.contains(" unknown ")), "{as_seen:#?}");
        let as_operator = found(deployment.inferbus(Role::Operator, &as_worker), 1);
        finds(&as_operator, "permissions danger", "publish inferbus.dlq.cameras.*");
    });
}
