//! Stored messages through any version again: beside the live route, compared with the stored results, published only
//! on request.

use std::collections::BTreeSet;

use async_nats::HeaderMap;
use futures_util::StreamExt as _;
use inferbus_catalog::PushOptions;
use inferbus_tests::plugin::{sensor_post, sensor_pre};
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, Ran, SECOND, Site, Worker, heldout, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

const REFUSED: Option<i32> = Some(1);
const USAGE: Option<i32> = Some(2);
const NOT_FOUND: Option<i32> = Some(4);

const RESULTS: &str = "INFERBUS_RESULTS_cams";

/// Pictures in the stream, and one other message after them.
const PICTURES: u64 = 24;
const MESSAGES: u64 = PICTURES + 1;

/// A stream of camera pictures, with results of the first version by a running worker.
struct Ground {
    site: Site,
    worker: Worker,
}

impl Ground {
    async fn start() -> Self {
        let site = Site::with_digits().await;
        add_route(&site, "digits", "CAMERAS");
        for (number, picture) in heldout().payloads.into_iter().take(PICTURES as usize).enumerate() {
            site.store(&format!("sensors.cam.{}", number + 1), HeaderMap::new(), picture).await;
        }
        site.store("sensors.cam.broken", HeaderMap::new(), "no picture").await;
        let worker = block_in_place(|| Worker::start(site.url()));
        ended(&worker, MESSAGES);
        Self { site, worker }
    }

    fn replay(&self, arguments: &[&str]) -> Ran {
        block_in_place(|| self.site.inferbus(&[&["replay"], arguments].concat()))
    }

    fn route(&self, more: &[&str]) -> Value {
        self.replay(&[&["--route", "cams", "--format", "json"], more].concat()).json()
    }

    /// The state that a replay must not change: the consumer and every stream, as reported by the server.
    async fn live(&self) -> (String, Vec<(String, u64, u64)>) {
        let jetstream = self.site.jetstream();
        let stream = jetstream.get_stream("CAMERAS").await.expect("the stream");
        let consumer = stream.consumer_info("inferbus-cams").await.expect("the consumer");
        let (delivered, floor) = (consumer.delivered.consumer_sequence, consumer.ack_floor.stream_sequence);
        let consumer = format!("{delivered} {floor} {} {}", consumer.num_ack_pending, consumer.num_redelivered);
        let mut streams = Vec::new();
        for name in ["CAMERAS", RESULTS, "INFERBUS_DLQ"] {
            let state = jetstream.get_stream(name).await.expect("a stream").cached_info().state.clone();
            streams.push((name.to_owned(), state.messages, state.last_sequence));
        }
        (consumer, streams)
    }
}

fn add_route(site: &Site, model: &str, stream: &str) {
    let subjects = ["--stream", stream, "--subject", "sensors.cam.*", "--output", "inference.cam.$1"];
    let route = [&["route", "add", "--model", model, "--name", "cams"], &subjects as &[&str]].concat();
    block_in_place(|| site.inferbus(&route).ok());
}

fn ended(worker: &Worker, messages: u64) {
    let done = || worker.metric("inferbus_stream_messages_total{") >= messages as f64;
    block_in_place(|| until("every message has ended", done));
}

fn counts(same: u64, different: u64, only_new: u64, failed: u64) -> Value {
    json!({
        "same": same, "different": different, "only_stored": 0, "only_new": only_new, "no_result": 0, "failed": failed
    })
}

#[track_caller]
fn fails(ran: &Ran, code: Option<i32>, words: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(words), "`{words}` is missing: {ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_versions_results_are_compared_with_the_stored_ones() {
    let ground = Ground::start().await;
    let before = ground.live().await;
    let same = ground.route(&[]);
    assert_eq!((&same["version"], &same["counts"]), (&FIRST.into(), &counts(PICTURES, 0, 0, 1)), "{same}");
    assert_eq!((&same["messages"], &same["first"], &same["last"]), (&MESSAGES.into(), &1.into(), &MESSAGES.into()));
    assert_eq!(same["failures"][0]["sequence"], MESSAGES, "{same}");
    assert!(
        same["failures"][0]["error"].as_str().is_some_and(|error| error.starts_with("digits 1.0.0 pre: ")),
        "{same}"
    );

    let other = ground.route(&["--version", SECOND]);
    assert_eq!((&other["version"], &other["counts"]), (&SECOND.into(), &counts(0, PICTURES, 0, 1)), "{other}");
    let differences = other["differences"].as_array().expect("a list");
    let sequences: Vec<_> = differences.iter().filter_map(|difference| difference["sequence"].as_u64()).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5], "{other}");
    for difference in differences {
        let side = |side: &str| difference[side].as_str().map(str::to_owned).expect("an excerpt");
        assert!(side("stored").starts_with("{\"label\":"), "{difference}");
        assert!(side("new").starts_with("{\"model\":\"digits\",\"label\":"), "{difference}");
    }
    assert_eq!(ground.live().await, before, "nothing was acknowledged, published or deleted");

    let results = ground.site.jetstream().get_stream(RESULTS).await.expect("the results");
    let seventh =
        ground.site.stored(RESULTS).await.into_iter().find(|stored| stored.header("Inferbus-Sequence") == "7");
    results.delete_message(seventh.expect("a result").sequence).await.expect("deleted");
    assert_eq!(ground.route(&[])["counts"], counts(PICTURES - 1, 0, 1, 1));

    let text = ground.replay(&["--route", "cams", "--version", SECOND]).ok();
    for words in ["digits 1.1.0 sha256:", "25 messages of CAMERAS (1 to 25)", "\n  1: {\"label\":", "\n  25 failed: "] {
        assert!(text.contains(words), "`{words}` is missing: {text}");
    }
    assert_eq!(block_in_place(|| ground.worker.stop()), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_chosen_by_sequence_time_and_subject() {
    let ground = Ground::start().await;
    let messages = ground.site.stored("CAMERAS").await;
    let (fifth, ninth) = (messages[4].time_text(), messages[8].time_text());
    let chosen = |more: &[&str]| {
        let ran = ground.route(more);
        (ran["messages"].as_u64(), ran["first"].as_u64(), ran["last"].as_u64())
    };
    let span = |first, last| (Some(last - first + 1), Some(first), Some(last));
    assert_eq!(chosen(&["--from", "11", "--to", "20"]), span(11, 20));
    assert_eq!(chosen(&["--to", "3"]), span(1, 3));
    assert_eq!(chosen(&["--from", "23"]), span(23, MESSAGES));
    assert_eq!(chosen(&["--from", &fifth, "--to", &ninth]), span(5, 9));
    assert_eq!(chosen(&["--from", "1h"]), span(1, MESSAGES));
    assert_eq!(chosen(&["--subject", "sensors.cam.7"]), span(7, 7));
    for nothing in [&["--to", "1h"] as &[&str], &["--from", "26"], &["--from", "9", "--to", "8"], &["--subject", "a.b"]]
    {
        assert_eq!(chosen(nothing), (Some(0), None, None), "{nothing:?}");
    }
    fails(
        &ground.replay(&["--route", "cams", "--from", "3", "--max-messages", "4"]),
        REFUSED,
        "23 messages exceed the limit of 4",
    );
    fails(&ground.replay(&["--route", "cams", "--from", "3", "--max-messages", "4"]), REFUSED, "--to 6");
    assert_eq!(ground.route(&["--from", "3", "--to", "6", "--max-messages", "4"])["counts"], counts(4, 0, 0, 0));

    // Without a route there are no results to compare.
    let bare = ground.replay(&["--stream", "CAMERAS", "--model", "digits", "--format", "json"]).json();
    assert_eq!(bare["compared"], false);
    assert_eq!(bare["counts"], json!({ "results": PICTURES, "no_result": 0, "failed": 1 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_published_where_they_are_asked_for() {
    let ground = Ground::start().await;
    let before = ground.live().await;
    // Subjects outside every stream reach their subscribers all the same.
    let mut heard = ground.site.client.subscribe("again.*").await.expect("a subscription");
    ground.site.client.flush().await.expect("flushed");
    let ran = ground.route(&["--version", SECOND, "--output", "again.$1"]);
    assert_eq!(ran["published"], json!({ "results": PICTURES, "emits": 0, "duplicates": 0, "stored": [] }));
    let mut subjects = BTreeSet::new();
    for _ in 0..PICTURES {
        let message = tokio::time::timeout(PATIENCE, heard.next()).await.expect("in time").expect("a result");
        let headers = message.headers.expect("headers");
        let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
        let subject = message.subject.to_string();
        assert_eq!(subject, format!("again.{}", header("Inferbus-Sequence")));
        let [route, stream, version, replay] =
            ["Inferbus-Route", "Inferbus-Stream", "Inferbus-Version", "Inferbus-Replay"].map(header);
        assert_eq!([route, stream, version, replay], ["cams", "CAMERAS", SECOND, "true"]);
        subjects.insert(subject);
    }
    assert_eq!(subjects.len() as u64, PICTURES);

    ground.site.keep("AGAIN", &["again.>"]).await;
    let stored =
        |duplicates: u64| json!({ "results": PICTURES, "emits": 0, "duplicates": duplicates, "stored": ["again.>"] });
    assert_eq!(ground.route(&["--version", SECOND, "--output", "again.$1"])["published"], stored(0));
    assert_eq!(ground.route(&["--version", SECOND, "--output", "again.$1"])["published"], stored(PICTURES));
    assert_eq!(ground.route(&["--version", FIRST, "--output", "again.$1"])["published"], stored(0));
    let kept = ground.site.stored("AGAIN").await;
    let ids: BTreeSet<_> = kept.iter().map(|stored| stored.header("Nats-Msg-Id").to_owned()).collect();
    assert_eq!((kept.len() as u64, ids.len() as u64), (2 * PICTURES, 2 * PICTURES));
    let live = ground.site.stored(RESULTS).await;
    assert!(live.iter().all(|result| !ids.contains(result.header("Nats-Msg-Id"))));
    assert_eq!(ground.live().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_mix_with_what_is_live_is_refused() {
    let ground = Ground::start().await;
    let before = ground.live().await;
    let to = |output| ground.replay(&["--route", "cams", "--output", output]);
    for (output, words) in [
        ("inference.cam.$1", "the live results of route cams are on"),
        ("inference.cam.7.again", "the live results of route cams are on"),
        ("inference.cam", "the live results of route cams are on"),
        ("sensors.cam.$1", "so results would become messages"),
        ("sensors.cam", "so results would become messages"),
        ("again.$2", "refers to wildcard 2"),
        ("again.*", "an output is one subject"),
    ] {
        fails(&to(output), REFUSED, words);
    }
    block_in_place(|| ground.site.inferbus(&["route", "add", "--subject", "doors.>", "--model", "digits"]).ok());
    fails(&to("doors.again.$1"), REFUSED, "route doors-all takes `doors.>`");
    fails(&ground.replay(&["--route", "nobody"]), NOT_FOUND, "unknown route `nobody`");
    fails(&ground.replay(&["--route", "doors-all"]), REFUSED, "serves requests, not a stream: set one with --stream");
    fails(&ground.replay(&["--stream", "NOBODY", "--model", "digits"]), NOT_FOUND, "there is no stream `NOBODY`");
    fails(&ground.replay(&["--route", "cams", "--version", "9.9.9"]), NOT_FOUND, "no version 9.9.9");
    for wrong in [
        &[] as &[&str],
        &["--stream", "CAMERAS"],
        &["--route", "cams", "--from", "yesterday"],
        &["--route", "cams", "--subject", "a..b"],
    ] {
        assert_eq!(ground.replay(wrong).code, USAGE, "{wrong:?}");
    }
    assert_eq!(ground.live().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_one_side_has_is_told() {
    let drops = |letter: u8| {
        format!("(if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const {letter})) (then (return (i64.const 0))))")
    };
    let sensor = |version: &str, letter: u8| {
        let pre = sensor_pre("", b"", &drops(letter));
        BundleFolder::new("sensor", version).plugin("pre", &pre, "").plugin("post", &sensor_post("", b"", ""), "")
    };
    let site = Site::start().await;
    site.activate(&sensor(FIRST, b'a')).await;
    site.catalog.push(&sensor(SECOND, b'b').read(), PushOptions::default(), &mut |_| {}).await.expect("pushed");
    add_route(&site, "sensor", "SENSORS");
    for payload in [b"a: sixteen bytes", b"b: sixteen bytes", b"c: sixteen bytes"] {
        site.store("sensors.cam.1", HeaderMap::new(), payload.as_slice()).await;
    }
    let worker = block_in_place(|| Worker::start(site.url()));
    ended(&worker, 3);
    let replay = |version| {
        block_in_place(|| site.inferbus(&["replay", "--route", "cams", "--version", version, "--format", "json"]))
            .json()
    };
    let all = |same, only_stored, only_new, no_result| {
        json!({
            "same": same, "different": 0, "only_stored": only_stored, "only_new": only_new,
            "no_result": no_result, "failed": 0
        })
    };
    assert_eq!(replay(FIRST)["counts"], all(2, 0, 0, 1));
    let ran = replay(SECOND);
    assert_eq!(ran["counts"], all(1, 1, 1, 0));
    assert_eq!(ran["differences"], json!([{ "sequence": 2, "stored": "b: sixteen bytes", "new": null }]));
}
