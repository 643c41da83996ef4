//! Routes: from sensor subjects to result subjects, followed live.

use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use inferbus_catalog::{Mode, ModelName, Priority, Route};
use inferbus_tests::plugin::{EMIT, MORE, sensor_post, sensor_pre};
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, Site, Worker, ask};
use tokio::task::block_in_place;

const SENSOR: &[u8] = b"sixteen bytes :)";

/// The sensor's message for an empty picture: `pre` filters it out.
const NOTHING: &[u8] = b"\0nothing to see\0";

/// Two emits from `pre`, one from `post`, and the sensor's bytes as the result.
fn talkative() -> BundleFolder {
    let emit = |topic: u32, topic_len: u32, payload: u32, len: u32| {
        format!(
            "(drop (call $emit (i32.const {topic}) (i32.const {topic_len}) (i32.const {payload}) (i32.const {len})))"
        )
    };
    // The text at MORE holds both topics and all payloads.
    let texts = b"seen.first seen.second one two";
    let filter = "(if (i32.eqz (i32.load8_u (local.get $ptr))) (then (return (i64.const 0))))";
    let first = [filter, &emit(MORE, 10, MORE + 23, 3), &emit(MORE + 11, 11, MORE + 27, 3)].join("\n");
    let mut last = vec![0; 1024];
    last.extend(b"done three");
    BundleFolder::new("talkative", FIRST).plugin("pre", &sensor_pre(EMIT, texts, &first), "grants = [\"emit\"]").plugin(
        "post",
        &sensor_post(EMIT, &last, &emit(MORE, 4, MORE + 5, 5)),
        "grants = [\"emit\"]",
    )
}

fn route(subject: &str, output: Option<&str>) -> Route {
    let model: ModelName = "talkative".parse().expect("a name");
    let output = output.map(Into::into);
    Route { subject: subject.into(), model, output, priority: Priority::Normal, mode: Mode::Request }
}

/// A site with the model, a worker with the route, and a subscriber to all results.
struct Ground {
    site: Site,
    worker: Worker,
    results: Subscriber,
}

impl Ground {
    async fn start() -> Self {
        let site = Site::start().await;
        site.activate(&talkative()).await;
        let worker = block_in_place(|| Worker::start(site.url()));
        // The server works in order on one connection, so later messages on it find this subscription.
        let results = site.client.subscribe("inference.>").await.expect("a subscription");
        Self { site, worker, results }
    }

    /// Puts a route, and waits until the worker follows it.
    async fn put(&self, name: &str, route: &Route) {
        let mark = self.worker.log_len();
        self.site.catalog.put_route(&name.parse().expect("a name"), route).await.expect("a revision");
        self.told(mark, "route started", name);
    }

    fn told(&self, mark: usize, message: &str, name: &str) {
        block_in_place(|| {
            self.worker.wait_until_after(mark, message, |line| line["message"] == message && line["route"] == name)
        });
    }

    async fn publish(&self, subject: &str, payload: &'static [u8]) {
        self.site.client.publish(subject.to_owned(), payload.into()).await.expect("published");
    }

    /// The subjects and payloads of the next results, in order.
    async fn next<const COUNT: usize>(&mut self) -> [(String, Vec<u8>); COUNT] {
        let mut messages = Vec::new();
        while messages.len() < COUNT {
            let message = next(&mut self.results).await;
            messages.push((message.subject.to_string(), message.payload.to_vec()));
        }
        messages.try_into().expect("as many as asked for")
    }

    /// No further message was published: a direct request takes the same way and comes last.
    async fn nothing_more(&mut self) {
        ask(&self.site.client, "infer.talkative", SENSOR.into()).await;
        assert_eq!(self.next().await, emits("inference.talkative"));
    }
}

async fn next(messages: &mut Subscriber) -> Message {
    tokio::time::timeout(PATIENCE, messages.next()).await.expect("a message in time").expect("an open subscription")
}

fn emits(prefix: &str) -> [(String, Vec<u8>); 3] {
    [("seen.first", "one"), ("seen.second", "two"), ("done", "three")]
        .map(|(topic, payload)| (format!("{prefix}.{topic}"), payload.into()))
}

/// The messages published for one message through a route: its emits in order, then its result.
fn published(output: &str) -> [(String, Vec<u8>); 4] {
    let [first, second, third] = emits(output);
    [first, second, third, (output.into(), SENSOR.into())]
}

#[tokio::test(flavor = "multi_thread")]
async fn results_go_to_the_output_after_their_emits_with_both_ways_to_write_a_wildcard() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.{{wildcard(1)}}"))).await;
    ground.publish("sensors.cam.7", SENSOR).await;
    assert_eq!(ground.next().await, published("inference.cam.7"));
    ground.put("lines", &route("plant.*.line.*", Some("inference.$2.of.$1"))).await;
    ground.publish("plant.ulm.line.3", SENSOR).await;
    assert_eq!(ground.next().await, published("inference.3.of.ulm"));
    ground.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_on_a_route_gets_the_reply_and_the_output_gets_the_result() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.$1"))).await;
    let answer = ask(&ground.site.client, "sensors.cam.8", SENSOR.into()).await;
    assert_eq!((answer.code, answer.payload.as_ref()), (None, SENSOR));
    assert_eq!((answer.version.as_str(), answer.digest.starts_with("sha256:")), (FIRST, true));
    let messages: [(String, Vec<u8>); 4] = ground.next().await;
    assert_eq!(messages, published("inference.cam.8"));

    // Without an output there is only the reply, and emits go below the model's own prefix.
    ground.put("doors", &route("sensors.door.*", None)).await;
    assert_eq!(ask(&ground.site.client, "sensors.door.1", SENSOR.into()).await.payload, SENSOR);
    assert_eq!(ground.next().await, emits("inference.talkative"));
    ground.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn results_say_which_bytes_made_them() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.$1"))).await;
    ground.publish("sensors.cam.1", SENSOR).await;
    for _ in published("") {
        let headers = next(&mut ground.results).await.headers.expect("headers");
        let text = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
        assert_eq!((text("Inferbus-Model").as_str(), text("Inferbus-Version").as_str()), ("talkative", FIRST));
        assert!(text("Inferbus-Digest").starts_with("sha256:"), "{headers:?}");
        let micros = text("Inferbus-Stage-Micros");
        assert_eq!(
            micros.split(',').filter_map(|stage| stage.split('=').next()).collect::<Vec<_>>(),
            ["pre", "model", "post"],
            "{micros}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_filtered_out_publishes_nothing_and_a_request_hears_so() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.$1"))).await;
    ground.publish("sensors.cam.1", NOTHING).await;
    let answer = ask(&ground.site.client, "sensors.cam.1", NOTHING.into()).await;
    assert_eq!((answer.code, answer.payload.len()), (None, 0), "{}", answer.error);
    assert_eq!(answer.headers.get("Inferbus-Result").map(ToString::to_string).as_deref(), Some("none"));
    assert_eq!(ask(&ground.site.client, "infer.talkative", SENSOR.into()).await.headers.get("Inferbus-Result"), None);
    assert_eq!(ground.next().await, emits("inference.talkative"), "nothing of the filtered ones came before");
    let filtered = block_in_place(|| {
        ground.worker.metric("inferbus_messages_total{model=\"talkative\",version=\"1.0.0\",outcome=\"no_result\"}")
    });
    assert_eq!(filtered, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn overlapping_routes_each_get_every_message() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.$1"))).await;
    ground.put("everything", &route("sensors.>", Some("inference.all"))).await;
    let _second = block_in_place(|| Worker::start(ground.site.url()));
    for number in 0..20 {
        ground.publish(&format!("sensors.cam.{number}"), SENSOR).await;
    }
    let mut results: Vec<String> = Vec::new();
    while results.len() < 40 {
        let message = next(&mut ground.results).await;
        if message.payload == SENSOR {
            results.push(message.subject.to_string());
        }
    }
    results.sort();
    let mut expected: Vec<String> =
        (0..20).flat_map(|number| [format!("inference.cam.{number}"), "inference.all".into()]).collect();
    expected.sort();
    assert_eq!(results, expected, "each once, however many workers there are");
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_changed_and_removed_while_the_worker_runs() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.old.$1"))).await;
    ground.publish("sensors.cam.1", SENSOR).await;
    assert_eq!(ground.next().await, published("inference.old.1"));

    let mark = ground.worker.log_len();
    ground.put("cameras", &route("sensors.cam.*", Some("inference.new.$1"))).await;
    ground.told(mark, "route ended", "cameras");
    ground.publish("sensors.cam.2", SENSOR).await;
    assert_eq!(ground.next().await, published("inference.new.2"));

    let mark = ground.worker.log_len();
    ground.site.catalog.delete_route(&"cameras".parse().expect("a name")).await.expect("deleted");
    ground.told(mark, "route ended", "cameras");
    let nobody = ground.site.client.request("sensors.cam.3", SENSOR.into()).await.expect_err("no responder");
    assert_eq!(nobody.kind(), async_nats::RequestErrorKind::NoResponders);
    ground.nothing_more().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_that_is_not_valid_is_left_out_and_the_others_stay() {
    let mut ground = Ground::start().await;
    ground.put("cameras", &route("sensors.cam.*", Some("inference.cam.$1"))).await;
    for (name, value) in [
        ("broken", "{\"subject\":"),
        ("nameless", r#"{"subject":"sensors.door.*"}"#),
        ("unknown-key", r#"{"subject":"sensors.door.*","model":"talkative","colour":"red"}"#),
        ("no-such-wildcard", r#"{"subject":"sensors.door.*","model":"talkative","output":"inference.$2"}"#),
        ("endless", r#"{"subject":"loop.>","model":"talkative","output":"loop.again"}"#),
    ] {
        let mark = ground.worker.log_len();
        ground.site.put("routes", name, value).await;
        block_in_place(|| {
            ground.worker.wait_until_after(mark, "ignoring an invalid route", |line| {
                line["route"] == name && line["message"].as_str().is_some_and(|message| message.contains("ignoring"))
            })
        });
        ground.publish("sensors.cam.5", SENSOR).await;
        assert_eq!(ground.next().await, published("inference.cam.5"), "after {name}");
    }
    // A plain put with any client repairs it.
    let mark = ground.worker.log_len();
    ground
        .site
        .put("routes", "broken", r#"{"subject":"sensors.door.*","model":"talkative","output":"inference.door.$1"}"#)
        .await;
    ground.told(mark, "route started", "broken");
    ground.publish("sensors.door.9", SENSOR).await;
    assert_eq!(ground.next().await, published("inference.door.9"));
    ground.nothing_more().await;
}
