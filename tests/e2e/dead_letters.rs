//! Dead letters from an operator's side: listed, shown, replayed with a better version, dropped.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use async_nats::HeaderMap;
use async_nats::jetstream::stream;
use inferbus::dev_server::Settings;
use inferbus_catalog::PushOptions;
use inferbus_tests::plugin::{EMIT, MORE, sensor_post, sensor_pre};
use inferbus_tests::stored::Stored;
use inferbus_tests::{BundleFolder, FIRST, Ran, SECOND, Site, Worker, program, run, until};
use serde_json::Value;
use tokio::task::block_in_place;

const REFUSED: Option<i32> = Some(1);
const NOT_FOUND: Option<i32> = Some(4);

const DEAD: &str = "INFERBUS_DLQ";
const RESULTS: &str = "INFERBUS_RESULTS_cams";

/// Both versions refuse payloads of other than 16 bytes. The first one traps at a first byte `a` or `b`. The second
/// one filters `b`, and emits for all others.
fn sensor(version: &str) -> BundleFolder {
    let begins = |letter: u8, then: &str| {
        format!("(if (i32.eq (i32.load8_u (local.get $ptr)) (i32.const {letter})) (then {then}))")
    };
    let emit = format!("(drop (call $emit (i32.const {MORE}) (i32.const 4) (i32.const {}) (i32.const 3)))", MORE + 4);
    let (pre, grants) = match version {
        FIRST => (sensor_pre("", b"", &[begins(b'a', "unreachable"), begins(b'b', "unreachable")].concat()), ""),
        _ => {
            let first = [begins(b'b', "(return (i64.const 0))"), emit].concat();
            (sensor_pre(EMIT, b"seenyes", &first), "grants = [\"emit\"]")
        }
    };
    BundleFolder::new("sensor", version).plugin("pre", &pre, grants).plugin("post", &sensor_post("", b"", ""), "")
}

const TRAPPED: &[u8] = b"a: sixteen bytes";
const NOTHING: &[u8] = b"b: sixteen bytes";
const SHORT: &[u8] = b"too short";
const GOOD: &[u8] = b"z: sixteen bytes";

/// A route after its worker: three dead letters and one result. The second version is not active yet.
struct Aftermath {
    site: Site,
}

impl Aftermath {
    async fn of(payloads: &[&[u8]], settings: Settings<'_>) -> Self {
        let site = Site::start_with(settings).await;
        site.activate(&sensor(FIRST)).await;
        site.catalog.push(&sensor(SECOND).read(), PushOptions::default(), &mut |_| {}).await.expect("pushed");
        let subjects = ["--stream", "SENSORS", "--subject", "sensors.cam.*", "--output", "inference.sensor.$1"];
        let route = [&["route", "add", "--model", "sensor", "--name", "cams"], &subjects as &[&str]].concat();
        block_in_place(|| site.inferbus(&route).ok());
        for (number, payload) in payloads.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Lens", "wide");
            headers.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
            site.store(&format!("sensors.cam.{}", number + 1), headers, payload.to_vec()).await;
        }
        block_in_place(|| {
            let worker = Worker::start(site.url());
            let ended = || worker.metric("inferbus_stream_messages_total{");
            until("every message has ended", || ended() >= payloads.len() as f64);
            assert_eq!(worker.stop(), Some(0));
        });
        Self { site }
    }

    async fn usual() -> Self {
        Self::of(&[TRAPPED, NOTHING, SHORT, GOOD], Settings::default()).await
    }

    fn dlq(&self, arguments: &[&str]) -> Ran {
        block_in_place(|| self.site.inferbus(&[&["dlq"], arguments].concat()))
    }

    fn listed(&self, more: &[&str]) -> Vec<Value> {
        self.dlq(&[&["ls", "--output", "json"], more].concat()).json().as_array().expect("a list").clone()
    }

    /// The ID of the dead letter of one message.
    fn id(&self, sequence: u64) -> String {
        let found = self.listed(&[]).into_iter().find(|letter| letter["sequence"] == sequence);
        found.expect("a dead letter")["id"].to_string()
    }

    async fn results(&self) -> Vec<Stored> {
        self.site.stored(RESULTS).await
    }
}

#[track_caller]
fn fails(ran: &Ran, code: Option<i32>, words: &str) {
    assert_eq!(ran.code, code, "{ran:?}");
    assert!(ran.stderr.contains(words) || ran.stdout.contains(words), "`{words}` is missing: {ran:?}");
}

/// The expected results of a message, emitted event first.
#[track_caller]
fn is_of(results: &[&Stored], sequence: u64, payload: &[u8]) {
    let [emit, result] = results else { panic!("not one event and one result: {results:?}") };
    assert_eq!(
        (emit.subject.as_str(), emit.payload.as_ref()),
        (&*format!("inference.sensor.{sequence}.seen"), &b"yes"[..])
    );
    assert_eq!((result.subject.as_str(), result.payload.as_ref()), (&*format!("inference.sensor.{sequence}"), payload));
    let id = result.header("Nats-Msg-Id");
    assert!(id.starts_with("SENSORS@") && id.ends_with(&format!("/{sequence}/cams")), "{id}");
    assert_eq!(emit.header("Nats-Msg-Id"), format!("{id}/1"));
    for stored in [emit, result] {
        assert_eq!(stored.header("Inferbus-Version"), SECOND);
        assert!(stored.header("traceparent").starts_with("00-0af7651916cd43dd8448eb211c80319c-"), "{stored:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_and_shown() {
    let none = Site::start().await;
    assert_eq!(block_in_place(|| none.inferbus(&["dlq", "ls"])).ok().trim(), "0 dead letters");
    fails(&block_in_place(|| none.inferbus(&["dlq", "show", "1"])), NOT_FOUND, "no dead letter 1");

    let after = Aftermath::usual().await;
    let listed = after.listed(&[]);
    let facts = |letter: &Value| {
        (
            letter["sequence"].as_u64(),
            letter["reason"].as_str().map(str::to_owned),
            letter["stage"].as_str().map(str::to_owned),
        )
    };
    let is = |sequence, reason: &str| (Some(sequence), Some(reason.to_owned()), Some("pre".to_owned()));
    let expected: BTreeSet<_> = [is(1, "trapped"), is(2, "trapped"), is(3, "refused")].into();
    assert_eq!(listed.iter().map(facts).collect::<BTreeSet<_>>(), expected);
    assert!(listed.is_sorted_by_key(|letter| letter["id"].as_u64()), "{listed:?}");
    assert_eq!(after.listed(&["--reason", "trapped"]).len(), 2);
    assert_eq!(after.listed(&["--route", "cams"]).len(), 3);
    assert_eq!(after.listed(&["--route", "doors"]).len(), 0);
    assert_eq!(after.listed(&["--limit", "2"]), listed[1..]);

    let table = after.dlq(&["ls"]).ok();
    assert!(table.starts_with("ID") && table.ends_with("3 dead letters\n") && table.lines().count() == 5, "{table}");
    assert!(table.contains("SENSORS/3") && table.contains("the sensor sends 16 bytes"), "{table}");
    assert!(after.dlq(&["ls", "--limit", "1"]).ok().ends_with("the newest 1 of 3 matching, out of 3 dead letters\n"));

    let id = after.id(3);
    let shown = after.dlq(&["show", &id]).ok();
    for words in [
        "SENSORS/3 on sensors.cam.3, delivered once",
        "refused",
        "Lens: wide",
        "9 bytes: too short",
        "sensor 1.0.0 sha256:",
    ] {
        assert!(shown.contains(words), "`{words}` is missing: {shown}");
    }
    assert_eq!(after.dlq(&["show", &id, "--payload"]).ok().as_bytes(), SHORT);
    fails(&after.dlq(&["show", "99"]), NOT_FOUND, "no dead letter 99");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_publishes_what_a_worker_would_have_and_then_deletes() {
    let after = Aftermath::usual().await;
    let live = after.results().await;
    assert_eq!(live.len(), 1);

    let dry = after.dlq(&["replay", "--all", "--version", SECOND, "--dry-run"]);
    fails(&dry, REFUSED, "2 dead letters would be replayed: 1 with a result, 1 without one; 1 failed");
    assert!(dry.stdout.contains("inference.sensor.1 a: sixteen bytes, 1 emitted"), "{dry:?}");
    assert!(dry.stdout.contains("SENSORS/2: no result"), "{dry:?}");
    fails(
        &after.dlq(&["replay", "--all"]),
        REFUSED,
        "0 dead letters replayed: 0 with a result, 0 without one; 3 failed",
    );
    assert_eq!((after.listed(&[]).len(), after.results().await.len()), (3, 1), "nothing happened so far");

    let ran = after.dlq(&["replay", "--all", "--version", SECOND]);
    fails(&ran, REFUSED, "2 dead letters replayed: 1 with a result, 1 without one; 1 failed");
    assert!(
        ran.stdout.contains("SENSORS/3: failed: sensor 1.1.0 pre: refused the message: the sensor sends 16 bytes"),
        "{ran:?}"
    );
    let results = after.results().await;
    is_of(&results[1..].iter().collect::<Vec<_>>(), 1, TRAPPED);
    let names = |stored: &Stored| stored.headers.iter().map(|(name, _)| name.to_string()).collect::<BTreeSet<_>>();
    assert_eq!(names(&results[2]), names(&live[0]), "the same headers as a worker's result");
    let left = after.listed(&[]);
    assert_eq!((left.len(), &left[0]["sequence"]), (1, &3.into()));
    fails(&after.dlq(&["replay", "99"]), NOT_FOUND, "no dead letter 99");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_before_it_deletes_stores_nothing_twice() {
    let after = Aftermath::of(&[TRAPPED], Settings::default()).await;
    // The server's own memory of ids must not be the reason.
    let jetstream = after.site.jetstream();
    let config = jetstream.get_stream(RESULTS).await.expect("the results").cached_info().config.clone();
    let window = std::time::Duration::from_millis(100);
    jetstream.update_stream(stream::Config { duplicate_window: window, ..config }).await.expect("changed");

    let mut replay = Command::new(program());
    replay.args(["dlq", "replay", "--all", "--version", SECOND]).env("NATS_URL", after.site.url());
    let killed = block_in_place(|| run(replay.env("INFERBUS_FAILPOINT", "confirmed:1")));
    assert_eq!(killed.code, None, "{killed:?}");
    let results = after.results().await;
    is_of(&results.iter().collect::<Vec<_>>(), 1, TRAPPED);
    assert_eq!(after.listed(&[]).len(), 1, "the letter is still there");

    // With the probe, the server forgets everything stored before it.
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", "probe");
    block_in_place(|| {
        let handle = tokio::runtime::Handle::current();
        let known = || handle.block_on(after.site.store("inference.sensor.probe", headers.clone(), "")).1;
        assert!(!known(), "the first probe is new");
        until("the server has forgotten", || !known());
    });
    after.dlq(&["replay", "--all", "--version", SECOND]).ok();
    let ids = |stored: &[Stored]| {
        stored
            .iter()
            .map(|stored| stored.header("Nats-Msg-Id").to_owned())
            .filter(|id| id != "probe")
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&after.results().await), ids(&results));
    assert_eq!(after.listed(&[]).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_that_was_left_in_its_stream_is_read_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("server.conf");
    std::fs::write(&config, "max_payload: 65536\n").expect("a configuration");
    let settings = Settings { config: Some(Path::new(&config)), ..Default::default() };
    let large = vec![b'x'; 60_000];
    let after = Aftermath::of(&[&large], settings).await;
    let dead = after.site.stored(DEAD).await;
    assert_eq!((dead[0].payload.len(), dead[0].header("Inferbus-Payload-Left")), (0, "SENSORS/1"));
    let id = after.id(1);
    assert_eq!(after.dlq(&["show", &id, "--payload"]).ok().into_bytes(), large);
    let shown = after.dlq(&["show", &id]).ok();
    assert!(shown.contains("60000 bytes: xxx") && shown.contains("Lens: wide"), "{shown}");
    fails(&after.dlq(&["replay", &id, "--version", SECOND]), REFUSED, "the sensor sends 16 bytes");

    let stream = after.site.jetstream().get_stream("SENSORS").await.expect("the stream");
    stream.purge().await.expect("emptied");
    fails(
        &after.dlq(&["replay", &id, "--version", SECOND]),
        REFUSED,
        "its payload was left in SENSORS/1, and that message is deleted",
    );
    fails(&after.dlq(&["show", &id, "--payload"]), REFUSED, "that message is deleted");
    // Another message with the same number must not pass for it.
    after.site.jetstream().delete_stream("SENSORS").await.expect("deleted");
    after.site.keep("SENSORS", &["sensors.cam.*"]).await;
    after.site.store("sensors.cam.1", HeaderMap::new(), GOOD).await;
    fails(&after.dlq(&["replay", &id, "--version", SECOND]), REFUSED, "that stream was recreated");
    assert_eq!(after.listed(&[]).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_of_a_route_that_is_gone_keep_no_others_from_their_turn() {
    let after = Aftermath::of(&[TRAPPED], Settings::default()).await;
    let mut headers = after.site.stored(DEAD).await.remove(0).headers;
    headers.insert("Inferbus-Route", "a-gone-one");
    headers.insert("Nats-Msg-Id", "another");
    after.site.store("inferbus.dlq.a-gone-one.7", headers, TRAPPED).await;
    let ran = after.dlq(&["replay", "--all", "--version", SECOND]);
    fails(&ran, REFUSED, "1 dead letter replayed: 1 with a result, 0 without one; 1 failed");
    assert!(ran.stdout.contains("route a-gone-one: 1 dead letter cannot be replayed: unknown route"), "{ran:?}");
    assert_eq!(after.listed(&[])[0]["route"], "a-gone-one");
    fails(&after.dlq(&["replay", "--all", "--version", "9.9.9"]), REFUSED, "1 failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_dropped_only_when_that_is_meant() {
    let after = Aftermath::usual().await;
    fails(&after.dlq(&["drop", "--all"]), REFUSED, "3 dead letters would be deleted for good: confirm with --yes");
    fails(&after.dlq(&["drop", "--all", "--reason", "trapped"]), REFUSED, "2 dead letters would be deleted");
    fails(&after.dlq(&["drop", &after.id(1), "99", "--yes"]), NOT_FOUND, "no dead letter 99");
    assert_eq!(after.listed(&[]).len(), 3);
    for wrong in [&["drop"] as &[&str], &["drop", "--route", "cams"], &["drop", "1", "--all"], &["replay"], &["show"]] {
        assert_eq!(after.dlq(wrong).code, Some(2), "{wrong:?}");
    }
    assert_eq!(after.dlq(&["drop", &after.id(3), "--yes"]).ok().trim(), "1 dead letter deleted");
    let left: Vec<_> = after.listed(&[]).iter().map(|letter| letter["reason"].clone()).collect();
    assert_eq!(left, ["trapped", "trapped"]);
    assert_eq!(after.dlq(&["drop", "--all", "--reason", "trapped", "--yes"]).ok().trim(), "2 dead letters deleted");
    assert_eq!(after.listed(&[]).len(), 0);
    assert_eq!(after.dlq(&["replay", "--all"]).ok().trim(), "no dead letters");
}
