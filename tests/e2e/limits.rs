//! An entry's limits and the operator's ceilings, against a plugin beyond them.

use bytes::Bytes;
use inferbus_tests::plugin::{EMIT, sensor_post, sensor_pre};
use inferbus_tests::{BundleFolder, Site, Worker, WorkerOptions, ask, has_message};
use tokio::task::block_in_place;

const MODEL: &str = "sensor";
const SUBJECT: &str = "infer.sensor";
const PAYLOAD: &[u8] = &[7; 16];
const LOG: &str = r#"(import "inferbus" "log" (func $log (param i32 i32 i32)))"#;

fn bundle(version: &str, post: &str, grant: &str, limits: &str) -> BundleFolder {
    BundleFolder::new(MODEL, version)
        .plugin("pre", &sensor_pre("", b"", ""), "")
        .plugin("post", post, &format!("grants = [{grant}]"))
        .table(&format!("[limits]\n{limits}"))
}

async fn serve(site: &Site, worker: &Worker, bundle: &BundleFolder) {
    let mark = worker.log_len();
    site.activate(bundle).await;
    block_in_place(|| worker.wait_until_after(mark, "in service", |line| has_message(line, "in service")));
}

/// Sends a failing request; returns its code, and its sentence without the plugin's name.
async fn failure(site: &Site) -> (Option<u16>, String) {
    let answer = ask(&site.client, SUBJECT, Bytes::from_static(PAYLOAD)).await;
    let said = answer.error.split_once(" post: ").map(|(_, said)| said.to_owned());
    (answer.code, said.unwrap_or(answer.error))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_sets_what_a_call_may_emit_and_log() {
    let site = Site::start().await;
    let worker = Worker::start(site.url());
    let emits = "(drop (call $emit (i32.const 1024) (i32.const 5) (i32.const 1024) (i32.const 6)))";
    let emitter = sensor_post(EMIT, b"topic!", emits);
    serve(&site, &worker, &bundle("1.0.0", &emitter, "\"emit\"", "emit_bytes = \"10B\"")).await;
    let over = "emitted more than 10 bytes in all (limits.emit_bytes)".to_owned();
    assert_eq!(failure(&site).await, (Some(507), over));
    serve(&site, &worker, &bundle("1.1.0", &emitter, "\"emit\"", "emit_bytes = \"11B\"")).await;
    assert_eq!(ask(&site.client, SUBJECT, Bytes::from_static(PAYLOAD)).await.payload, PAYLOAD);

    let line = "(call $log (i32.const 2) (i32.const 1024) (i32.const 6))";
    let talker = sensor_post(LOG, b"talks!", &line.repeat(3));
    serve(&site, &worker, &bundle("2.0.0", &talker, "\"log\"", "log_lines = 2\nlog_bytes = \"9B\"")).await;
    let mark = worker.log_len();
    assert_eq!(ask(&site.client, SUBJECT, Bytes::from_static(PAYLOAD)).await.payload, PAYLOAD);
    let mut place = mark;
    for words in ["talks!", "tal…", "1 more log lines of this call were dropped"] {
        place = block_in_place(|| worker.wait_until_after(place, words, |line| line["message"] == words)).1;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_entry_gets_more_than_the_operator_allows() {
    let site = Site::start().await;
    let arguments = ["--max-memory", "1MiB", "--max-time", "20s", "--max-output", "64KiB", "--max-instances", "64"];
    let arguments = arguments.map(str::to_owned).to_vec();
    let worker = Worker::start_with(site.url(), WorkerOptions { arguments, ..Default::default() });
    let hungry = sensor_post("", b"", "(if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))");
    serve(&site, &worker, &bundle("1.0.0", &hungry, "", "time = \"20s\"")).await;
    let over = "ran out of memory: it needs more than 1 MiB (limits.memory)".to_owned();
    assert_eq!(failure(&site).await, (Some(507), over), "the ceiling is the default where it is lower");

    for (version, limit, asked, ceiling) in [
        ("2.0.0", "memory = \"2MiB\"", "2 MiB (limits.memory)", "1 MiB"),
        ("2.0.1", "time = \"21s\"", "21s (limits.time)", "20s"),
        ("2.0.2", "output = \"65KiB\"", "65 KiB (limits.output)", "64 KiB"),
        ("2.0.3", "emit_bytes = \"17MiB\"", "17 MiB (limits.emit_bytes)", "16 MiB"),
        ("2.0.4", "log_bytes = \"2MiB\"", "2 MiB (limits.log_bytes)", "1 MiB"),
    ] {
        let words = format!("the pre plugin: asks for {asked}, more than the {ceiling} that this worker allows");
        site.activate(&bundle(version, &hungry, "", limit)).await;
        block_in_place(|| worker.wait_for(&words));
        let answer = ask(&site.client, SUBJECT, Bytes::from_static(PAYLOAD)).await;
        assert_eq!((answer.version.as_str(), answer.code), ("1.0.0", Some(507)), "the old version serves");
    }
}
