//! The ready-made roles: each does its own work, and is refused what is not.

use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, stream};
use async_nats::{Client, Request, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use inferbus::dev_server::{DevServer, Settings};
use inferbus_tests::roles::{Deployment, Guest, Proof, Role};
use inferbus_tests::{PATIENCE, Worker, ask, digits, heldout, inferbus, until};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use Role::{Catalog, Operator, Publisher, Reader, Requester, Worker as WorkerRole};
use Verb::{Publish, Queue, Subscribe};

enum Verb {
    /// A payload for a subject.
    Publish(&'static str, &'static str),
    Subscribe(&'static str),
    /// A subscription in a queue group.
    Queue(&'static str, &'static str),
}

struct Attempt {
    who: Role,
    wants: &'static str,
    by: Verb,
}

const fn attempt(who: Role, wants: &'static str, by: Verb) -> Attempt {
    Attempt { who, wants, by }
}

const DELIVER_TO_CATALOG: &str = r#"{"stream_name":"INFERBUS_RESULTS_cameras","config":{"deliver_subject":"$KV.models.digits","ack_policy":"none"}}"#;

/// What the server must refuse by name, and so that nothing comes of it.
const REFUSED: &[Attempt] = &[
    // A device.
    attempt(Publisher, "activate a version", Publish("$KV.models.digits", "9.9.9")),
    attempt(Publisher, "write an entry", Publish("$KV.models.digits.9.9.9", "{}")),
    attempt(Publisher, "write a route", Publish("$KV.routes.mine", "{}")),
    attempt(Publisher, "replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    attempt(Publisher, "add to an artifact", Publish("$O.artifacts.C.x", "x")),
    attempt(Publisher, "read an artifact", Publish("$JS.API.STREAM.MSG.GET.OBJ_artifacts", r#"{"seq":1}"#)),
    attempt(Publisher, "read the catalog", Publish("$JS.API.DIRECT.GET.KV_models", r#"{"seq":1}"#)),
    attempt(Publisher, "read what others sent", Publish("$JS.API.STREAM.MSG.GET.SENSORS", r#"{"seq":1}"#)),
    attempt(Publisher, "take what others sent", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    attempt(Publisher, "acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+TERM")),
    attempt(Publisher, "empty the stream", Publish("$JS.API.STREAM.PURGE.SENSORS", "")),
    attempt(Publisher, "delete the stream", Publish("$JS.API.STREAM.DELETE.SENSORS", "")),
    attempt(Publisher, "delete a message", Publish("$JS.API.STREAM.MSG.DELETE.SENSORS", r#"{"seq":1}"#)),
    attempt(Publisher, "change the stream", Publish("$JS.API.STREAM.UPDATE.SENSORS", r#"{"name":"SENSORS"}"#)),
    attempt(
        Publisher,
        "make a stream",
        Publish("$JS.API.STREAM.CREATE.MINE", r#"{"name":"MINE","subjects":["mine"]}"#),
    ),
    attempt(Publisher, "delete the consumer", Publish("$JS.API.CONSUMER.DELETE.SENSORS.inferbus-cameras", "")),
    attempt(Publisher, "forge a result", Publish("inference.cam.1", "forged")),
    attempt(Publisher, "forge a dead letter", Publish("inferbus.dlq.cameras.1", "forged")),
    attempt(Publisher, "ask a model", Publish("infer.digits", "x")),
    attempt(Publisher, "ask what a model is", Publish("infer.digits.metadata", "")),
    attempt(Publisher, "answer for the server", Publish("_INBOX_worker.x", "forged")),
    attempt(Publisher, "answer another's request", Publish("_INBOX_requester.x", "forged")),
    attempt(Publisher, "name the worker's reply", Publish("_R_.x", "forged")),
    attempt(Publisher, "list the workers", Publish("$SRV.PING.inferbus", "")),
    attempt(
        Publisher,
        "forge an advisory",
        Publish("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.SENSORS.inferbus-cameras", "{}"),
    ),
    attempt(Publisher, "ask the server about itself", Publish("$SYS.REQ.SERVER.PING.VARZ", "")),
    attempt(Publisher, "hear everything", Subscribe(">")),
    attempt(Publisher, "hear other devices", Subscribe("sensors.>")),
    attempt(Publisher, "hear results", Subscribe("inference.>")),
    attempt(Publisher, "hear replies to others", Subscribe("_INBOX.>")),
    attempt(Publisher, "hear requesters' replies", Subscribe("_INBOX_requester.>")),
    attempt(Publisher, "hear advisories", Subscribe("$JS.EVENT.ADVISORY.>")),
    attempt(Publisher, "hear the system", Subscribe("$SYS.>")),
    attempt(Publisher, "pose as a worker", Queue("infer.*", "inferbus")),
    // Whoever asks.
    attempt(Requester, "activate a version", Publish("$KV.models.digits", "9.9.9")),
    attempt(Requester, "read an artifact", Publish("$JS.API.STREAM.MSG.GET.OBJ_artifacts", r#"{"seq":1}"#)),
    attempt(Requester, "look at a stream", Publish("$JS.API.STREAM.INFO.SENSORS", "")),
    attempt(Requester, "put sensor data", Publish("sensors.cam.1", "forged")),
    attempt(Requester, "forge a result", Publish("inference.cam.1", "forged")),
    attempt(Requester, "acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+ACK")),
    attempt(Requester, "go around a queue", Publish("$SRV.INFO", "")),
    attempt(Requester, "hear requests", Subscribe("infer.*")),
    attempt(Requester, "pose as a worker", Queue("infer.*", "inferbus")),
    attempt(Requester, "hear readers' messages", Subscribe("_INBOX_reader.>")),
    // Whoever reads results.
    attempt(Reader, "forge a result", Publish("inference.cam.1", "forged")),
    attempt(Reader, "put sensor data", Publish("sensors.cam.1", "forged")),
    attempt(Reader, "delete a result", Publish("$JS.API.STREAM.MSG.DELETE.INFERBUS_RESULTS_cameras", r#"{"seq":1}"#)),
    attempt(Reader, "empty the results", Publish("$JS.API.STREAM.PURGE.INFERBUS_RESULTS_cameras", "")),
    attempt(Reader, "acknowledge for a worker", Publish("$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+ACK")),
    attempt(Reader, "take sensor data", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    attempt(
        Reader,
        "have results delivered elsewhere",
        Publish("$JS.API.CONSUMER.CREATE.INFERBUS_RESULTS_cameras", DELIVER_TO_CATALOG),
    ),
    attempt(Reader, "delete its consumer", Publish("$JS.API.CONSUMER.DELETE.INFERBUS_RESULTS_cameras.reader", "")),
    attempt(Reader, "read dead letters", Publish("$JS.API.STREAM.MSG.GET.INFERBUS_DLQ", r#"{"seq":1}"#)),
    attempt(Reader, "hear sensor data", Subscribe("sensors.>")),
    attempt(Reader, "hear dead letters", Subscribe("inferbus.dlq.>")),
    // A worker.
    attempt(WorkerRole, "activate a version", Publish("$KV.models.digits", "9.9.9")),
    attempt(WorkerRole, "write a route", Publish("$KV.routes.mine", "{}")),
    attempt(WorkerRole, "replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    attempt(WorkerRole, "put sensor data", Publish("sensors.cam.1", "forged")),
    attempt(WorkerRole, "bury another route's message", Publish("inferbus.dlq.doors.1", "forged")),
    attempt(
        WorkerRole,
        "make a stream",
        Publish("$JS.API.STREAM.CREATE.MINE", r#"{"name":"MINE","subjects":["mine"]}"#),
    ),
    attempt(WorkerRole, "change a stream", Publish("$JS.API.STREAM.UPDATE.SENSORS", r#"{"name":"SENSORS"}"#)),
    attempt(WorkerRole, "empty a stream", Publish("$JS.API.STREAM.PURGE.SENSORS", "")),
    attempt(WorkerRole, "delete the catalog", Publish("$JS.API.STREAM.DELETE.KV_models", "")),
    attempt(WorkerRole, "delete its consumer", Publish("$JS.API.CONSUMER.DELETE.SENSORS.inferbus-cameras", "")),
    attempt(WorkerRole, "make a second consumer", Publish("$JS.API.CONSUMER.CREATE.SENSORS", "{}")),
    attempt(
        WorkerRole,
        "acknowledge for a reader",
        Publish("$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK"),
    ),
    attempt(WorkerRole, "have raw bytes sent elsewhere", Publish("$JS.API.DIRECT.GET.INFERBUS_DLQ", r#"{"seq":1}"#)),
    attempt(WorkerRole, "forge an advisory", Publish("$JS.EVENT.ADVISORY.STREAM.DELETED.SENSORS", "{}")),
    attempt(WorkerRole, "hear everything", Subscribe(">")),
    attempt(WorkerRole, "hear requests of other workers", Subscribe("infer.*")),
    attempt(WorkerRole, "take each request a second time", Queue("infer.*", "another")),
    attempt(WorkerRole, "hear questions of other workers", Subscribe("infer.*.metadata")),
    attempt(WorkerRole, "hear replies", Subscribe("_R_.>")),
    // Whoever pushes.
    attempt(Catalog, "write a route", Publish("$KV.routes.mine", "{}")),
    attempt(Catalog, "delete the catalog", Publish("$JS.API.STREAM.DELETE.KV_models", "")),
    attempt(Catalog, "empty the catalog", Publish("$JS.API.STREAM.PURGE.KV_models", "")),
    attempt(Catalog, "put sensor data", Publish("sensors.cam.1", "forged")),
    attempt(Catalog, "take sensor data", Publish("$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1")),
    attempt(Catalog, "forge a result", Publish("inference.cam.1", "forged")),
    attempt(Catalog, "hear what workers hear", Subscribe("_INBOX_worker.>")),
    // The operator, by mistake.
    attempt(Operator, "activate a version", Publish("$KV.models.digits", "9.9.9")),
    attempt(Operator, "replace an artifact", Publish("$O.artifacts.M.x", "{}")),
    attempt(Operator, "bury a message", Publish("inferbus.dlq.cameras.1", "forged")),
    attempt(Operator, "forge an advisory", Publish("$JS.EVENT.ADVISORY.STREAM.DELETED.SENSORS", "{}")),
    attempt(Operator, "hear what workers hear", Subscribe("_INBOX_worker.>")),
    attempt(Operator, "hear everything", Subscribe(">")),
];

/// What is allowed, but names a reply subject that is not the sender's: the answer must not arrive there.
const DEPUTIES: &[(Role, &str, &str, &str)] = &[
    (Publisher, "sensors.other", "x", "$KV.models.digits"),
    (Publisher, "sensors.other", "x", "$JS.API.STREAM.PURGE.KV_models"),
    (Publisher, "sensors.other", "x", "$JS.API.STREAM.DELETE.KV_models"),
    (Publisher, "sensors.other", "x", "inference.cam.1"),
    (Reader, "$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK", "$JS.API.STREAM.DELETE.KV_models"),
    (Reader, "$JS.ACK.INFERBUS_RESULTS_cameras.reader.1.1.1.1.0", "+ACK", "$KV.models.digits"),
    (Reader, "$JS.API.CONSUMER.INFO.INFERBUS_RESULTS_cameras.reader", "", "$KV.models.digits"),
    (Reader, "$JS.API.CONSUMER.MSG.NEXT.INFERBUS_RESULTS_cameras.reader", "1", "$KV.models.digits"),
    (WorkerRole, "$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0", "+WPI", "$JS.API.STREAM.DELETE.KV_models"),
    (WorkerRole, "$JS.API.STREAM.INFO.SENSORS", "", "$KV.models.digits"),
    (WorkerRole, "$JS.API.STREAM.MSG.GET.SENSORS", r#"{"seq":1}"#, "$KV.models.digits"),
    (WorkerRole, "$JS.API.CONSUMER.MSG.NEXT.SENSORS.inferbus-cameras", "1", "$KV.models.digits"),
    (WorkerRole, "inferbus.dlq.cameras.1", "x", "$JS.API.STREAM.DELETE.KV_models"),
    (Catalog, "$JS.API.STREAM.INFO.KV_models", "", "inference.cam.1"),
    (Catalog, "$KV.models.other", "1.0.0", "$KV.models.digits"),
    // Through a worker, which answers whoever asks.
    (Requester, "infer.digits", "x", "$KV.models.digits"),
    (Requester, "infer.digits", "x", "inference.cam.1"),
    (Requester, "infer.digits", "x", "inferbus.dlq.cameras.7"),
    (Requester, "infer.digits", "x", "$JS.ACK.SENSORS.inferbus-cameras.1.1.1.1.0"),
    (Requester, "infer.digits", "x", "$JS.API.STREAM.INFO.SENSORS"),
];

const ROUTES: [&[&str]; 2] = [
    &["route", "add", "--name=asked", "--subject=ask.*", "--model=digits", "--output=inference.ask.$1"],
    &[
        "route",
        "add",
        "--name=cameras",
        "--stream=SENSORS",
        "--subject=sensors.cam.*",
        "--model=digits",
        "--output=inference.cam.$1",
        "--ack-wait=1s",
    ],
];

/// A deployment in which everything is made, with a version active and a message in each stream.
struct Ground {
    deployment: Deployment,
    operator: Guest,
}

impl Ground {
    async fn start(proof: Proof) -> Self {
        let deployment = Deployment::start(proof).await;
        let operator = deployment.connect(Operator).await;
        make_stream(&operator.client).await;
        for route in ROUTES {
            block_in_place(|| deployment.inferbus(Operator, route)).ok();
        }
        make_reader(&operator.client).await;
        let bundle = digits("1.0.0");
        let push = ["push", bundle.to_str().expect("UTF-8"), "--activate"];
        block_in_place(|| deployment.inferbus(Catalog, &push)).ok();
        let worker = deployment.connect(WorkerRole).await;
        stored(&deployment.connect(Publisher).await.client, "sensors.cam.1").await;
        stored(&worker.client, "inference.cam.1").await;
        stored(&worker.client, "inferbus.dlq.cameras.99").await;
        Self { deployment, operator }
    }

    fn streams(&self) -> Context {
        jetstream::new(self.operator.client.clone())
    }

    /// Every stream with its settings, what it holds and who reads it.
    async fn state(&self) -> Vec<Value> {
        let streams = self.streams();
        let mut state = Vec::new();
        let mut names: Vec<String> = streams.stream_names().try_collect().await.expect("the streams' names");
        names.sort();
        for name in names {
            let stream = streams.get_stream(&name).await.expect("a stream");
            let info = stream.cached_info();
            let mut consumers = Vec::new();
            let mut found = stream.consumers();
            while let Some(consumer) = found.try_next().await.expect("a consumer") {
                let done = (consumer.delivered.consumer_sequence, consumer.ack_floor.consumer_sequence);
                // The catalog's readers come and go.
                if !name.starts_with("KV_") {
                    consumers.push(json!({ "name": consumer.name, "done": done }));
                }
            }
            let held = [info.state.messages, info.state.bytes, info.state.first_sequence, info.state.last_sequence];
            let config = serde_json::to_value(&info.config).expect("JSON");
            state.push(json!({ "config": config, "held": held, "consumers": consumers }));
        }
        state
    }
}

/// More subjects than the route takes, so that a test can store something that no worker works on.
async fn make_stream(operator: &Client) {
    let config = stream::Config { name: "SENSORS".into(), subjects: vec!["sensors.>".into()], ..Default::default() };
    jetstream::new(operator.clone()).create_stream(config).await.expect("a stream");
}

async fn make_reader(operator: &Client) {
    let config =
        pull::Config { durable_name: Some("reader".into()), ack_policy: AckPolicy::Explicit, ..Default::default() };
    let streams = jetstream::new(operator.clone());
    streams.create_consumer_on_stream(config, "INFERBUS_RESULTS_cameras").await.expect("a consumer");
}

/// Publishes and hears from the stream that it is stored.
async fn stored(client: &Client, subject: &'static str) {
    let ack = client.request(subject, "payload".into()).await.expect("an answer");
    let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
    assert!(ack["seq"].is_u64(), "{subject}: {ack}");
}

async fn refused_by_name(proof: Proof) {
    let ground = Ground::start(proof).await;
    let before = ground.state().await;
    let mut heard: Vec<(&str, Subscriber)> = Vec::new();
    let mut guests = Vec::new();
    for who in Role::ALL {
        let mut guest = ground.deployment.connect(who).await;
        for attempt in REFUSED.iter().filter(|attempt| attempt.who == who) {
            let subject = match attempt.by {
                Publish(subject, payload) => {
                    let inbox = guest.client.new_inbox();
                    guest.client.publish_with_reply(subject, inbox, payload.into()).await.expect("sent");
                    subject
                }
                Subscribe(subject) => {
                    heard.push((attempt.wants, guest.client.subscribe(subject).await.expect("sent")));
                    subject
                }
                Queue(subject, group) => {
                    let subscriber = guest.client.queue_subscribe(subject, group.into()).await.expect("sent");
                    heard.push((attempt.wants, subscriber));
                    subject
                }
            };
            let refusals = guest.refused().await;
            let [refusal] = refusals.as_slice() else { panic!("{who:?}: {}: {refusals:?}", attempt.wants) };
            let named = refusal.to_lowercase().contains("permissions violation") && refusal.contains(subject);
            assert!(named, "{who:?}: {}: {refusal}", attempt.wants);
        }
        guests.push(guest);
    }
    assert_eq!(ground.state().await, before, "something came of it");

    whole_path(&ground).await;
    for (wants, mut subscriber) in heard {
        let message = subscriber.next().now_or_never().flatten();
        assert!(message.is_none(), "{wants}: {message:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_is_refused_what_is_not_its_own_by_keys() {
    assert!(REFUSED.len() >= 50, "{}", REFUSED.len());
    refused_by_name(Proof::Keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_is_refused_what_is_not_its_own_by_tokens() {
    refused_by_name(Proof::Tokens).await;
}

/// Everybody's own work, with a real worker between.
async fn whole_path(ground: &Ground) {
    let deployment = &ground.deployment;
    let worker = block_in_place(|| Worker::start_with(deployment.url(), deployment.worker_options()));
    let listed = block_in_place(|| deployment.inferbus(Catalog, &["ls", "--output", "json"])).json();
    assert_eq!(listed[0]["active"], "1.0.0", "{listed}");
    let status = block_in_place(|| deployment.inferbus(Operator, &["status", "--output", "json"])).json();
    assert_eq!(status[0]["models"][0]["state"], "serving", "{status}");

    let heldout = heldout();
    let requester = deployment.connect(Requester).await;
    let mut live = deployment.connect(Reader).await;
    let mut results = live.client.subscribe("inference.ask.*").await.expect("a subscription");
    assert_eq!(live.refused().await, [""; 0]);
    let answer = ask(&requester.client, "infer.digits", heldout.payloads[0].clone()).await;
    assert_eq!(answer.json()["label"], heldout.predictions[0]);
    for (question, key) in [("infer.digits.metadata", "platform"), ("infer.digits.ready", "ready")] {
        let said = ask(&requester.client, question, "".into()).await.json();
        assert!(!said[key].is_null(), "{question}: {said}");
    }
    let answer = ask(&requester.client, "ask.7", heldout.payloads[1].clone()).await;
    assert_eq!(answer.json()["label"], heldout.predictions[1]);
    let result = tokio::time::timeout(PATIENCE, results.next()).await.expect("in time").expect("a result");
    assert_eq!((result.subject.as_str(), &result.payload), ("inference.ask.7", &answer.payload));

    // What Ground::start has stored is no picture.
    let publisher = deployment.connect(Publisher).await;
    publisher.client.request("sensors.cam.5", heldout.payloads[2].clone()).await.expect("stored");
    let reader = read_results(deployment).await;
    assert_eq!(reader, ["sensors.cam.5 is of SENSORS 2"], "the result after the one that the test itself stored");
    block_in_place(|| until("both ended", || worker.metric("inferbus_stream_messages_total{") >= 2.0));
    let dead = ground.streams().get_stream("INFERBUS_DLQ").await.expect("a stream").cached_info().state.messages;
    assert_eq!(dead, 2, "that of the worker after the one that the test itself stored");
    block_in_place(|| {
        deployment.inferbus(Operator, &["dlq", "ls"]).ok();
        assert!(!worker.log_text().contains("Permissions Violation"), "{}", worker.log_text());
        assert_eq!(worker.stop(), Some(0));
    });
}

/// Takes and acknowledges two results, and says where those are from that a worker made.
async fn read_results(deployment: &Deployment) -> Vec<String> {
    let mut reader = deployment.connect(Reader).await;
    let mut origins = Vec::new();
    for _ in 0..2 {
        let result = pull(&reader.client, "INFERBUS_RESULTS_cameras", "reader").await;
        acknowledge(&reader.client, &result).await;
        if let Some(headers) = &result.headers {
            let header = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
            let subject = result.subject.replace("inference", "sensors");
            origins.push(format!("{subject} is of {} {}", header("Inferbus-Stream"), header("Inferbus-Sequence")));
        }
    }
    assert_eq!(reader.refused().await, [""; 0]);
    origins
}

async fn pull(client: &Client, stream: &str, consumer: &str) -> async_nats::Message {
    let inbox = client.new_inbox();
    let mut messages = client.subscribe(inbox.clone()).await.expect("a subscription");
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
    client.publish_with_reply(subject, inbox, r#"{"batch":1,"expires":20000000000}"#.into()).await.expect("sent");
    tokio::time::timeout(PATIENCE, messages.next()).await.expect("in time").expect("a message")
}

async fn acknowledge(client: &Client, message: &async_nats::Message) {
    let ack = message.reply.clone().expect("a subject for the acknowledgement");
    let answer = client.send_request(ack, Request::new().payload("+ACK".into())).await.expect("an answer");
    assert!(answer.status.is_none() && answer.payload.is_empty(), "{answer:?}");
}

async fn nobody_is_a_deputy(proof: Proof) {
    let ground = Ground::start(proof).await;
    let deployment = &ground.deployment;
    let worker = block_in_place(|| Worker::start_with(deployment.url(), deployment.worker_options()));
    block_in_place(|| until("the stored message ended", || worker.metric("inferbus_stream_messages_total{") >= 1.0));
    let first = catalog(&ground).await;
    for (who, subject, payload, reply) in DEPUTIES {
        let before = kept(&ground, *who).await;
        let mut guest = deployment.connect(*who).await;
        guest.client.publish_with_reply(*subject, *reply, (*payload).into()).await.expect("sent");
        let by_itself = |refusal: &String| refusal.contains("Publish with Reply");
        let refusals = guest.refused().await;
        assert!(refusals.iter().all(by_itself), "{who:?} may send {subject}: {refusals:?}");
        settled(deployment, *who, &guest.client).await;
        assert_eq!(kept(&ground, *who).await, before, "{who:?} had {subject} answered to {reply}");
    }
    assert_eq!(catalog(&ground).await, first, "something came of it late");
}

/// What nobody who tries may change at any time.
async fn catalog(ground: &Ground) -> Vec<Value> {
    let mut kept = kept(ground, Catalog).await;
    let others = ["INFERBUS_RESULTS_cameras", "INFERBUS_DLQ", "SENSORS"];
    kept.retain(|stream| !others.contains(&stream["config"]["name"].as_str().unwrap_or_default()));
    kept
}

/// Everything but what this role may change itself.
async fn kept(ground: &Ground, who: Role) -> Vec<Value> {
    let mut state = ground.state().await;
    let own = match who {
        Publisher => "SENSORS",
        Reader => "INFERBUS_RESULTS_cameras",
        WorkerRole => "INFERBUS_DLQ",
        Catalog => "KV_models",
        Requester | Operator => "",
    };
    state.retain(|stream| stream["config"]["name"] != own);
    for stream in &mut state {
        // What a worker takes is its to take, and whoever waits until all is settled adds to the sensors' data.
        if who == WorkerRole {
            stream["consumers"] = Value::Null;
        }
        if stream["config"]["name"] == "SENSORS" {
            stream["held"] = Value::Null;
        }
    }
    // The pointer is what somebody else's answer would overwrite.
    let pointer = ground.streams().get_stream_no_info("KV_models").await.expect("a handle");
    let pointer = pointer.get_last_raw_message_by_subject("$KV.models.digits").await.expect("a pointer");
    state.push(json!({ "pointer": pointer.sequence }));
    state
}

/// Whatever answers to this role has been answered when a later question is.
async fn settled(deployment: &Deployment, who: Role, client: &Client) {
    match who {
        Publisher => stored(client, "sensors.other").await,
        Requester => drop(ask(client, "infer.digits", "x".into()).await),
        Reader => {
            let subject = "$JS.API.CONSUMER.INFO.INFERBUS_RESULTS_cameras.reader";
            client.request(subject, "".into()).await.expect("an answer");
        }
        WorkerRole | Catalog => {
            client.request("$JS.API.STREAM.INFO.KV_models", "".into()).await.expect("an answer");
        }
        Operator => unreachable!("the operator may do it himself"),
    }
    // The streams themselves work in order.
    stored(&deployment.connect(Publisher).await.client, "sensors.other").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_the_server_or_a_worker_write_for_him_by_keys() {
    nobody_is_a_deputy(Proof::Keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_has_the_server_or_a_worker_write_for_him_by_tokens() {
    nobody_is_a_deputy(Proof::Tokens).await;
}

/// What is delivered again is looked up among results and dead letters: the worker's list has what that needs.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_killed_is_followed_by_one_that_finds_what_it_stored() {
    let ground = Ground::start(Proof::Keys).await;
    let deployment = &ground.deployment;
    let picture = heldout().payloads[0].clone();
    // The first has stored a dead letter when it is killed, the second a result.
    killed_at(deployment, b"payload").await;
    deployment.connect(Publisher).await.client.request("sensors.cam.5", picture.clone()).await.expect("stored");
    killed_at(deployment, &picture[..32]).await;

    let worker = block_in_place(|| Worker::start_with(deployment.url(), deployment.worker_options()));
    let consumer = ground.streams().get_stream("SENSORS").await.expect("a stream");
    let settled = async || {
        let info = consumer.consumer_info("inferbus-cameras").await.expect("the consumer");
        (info.num_pending, info.num_ack_pending) == (0, 0)
    };
    eventually("both messages have ended", settled).await;
    block_in_place(|| assert!(!worker.log_text().contains("Permissions Violation"), "{}", worker.log_text()));
    for stream in ["INFERBUS_RESULTS_cameras", "INFERBUS_DLQ"] {
        let stream = ground.streams().get_stream(stream).await.expect("a stream");
        let held = stream.cached_info().state.messages;
        assert_eq!(held, 2, "one of a worker, and the one that the test itself stored");
    }
}

/// Starts a worker, and has it killed when the server has confirmed what became of a payload that begins so.
async fn killed_at(deployment: &Deployment, start: &[u8]) {
    let start: String = start.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut options = deployment.worker_options();
    options.environment.push(("INFERBUS_FAILPOINT".into(), format!("confirmed:payload={start}")));
    let worker = block_in_place(|| Worker::start_with(deployment.url(), options));
    let log = block_in_place(|| worker.end_with_log());
    assert_eq!(log.0, None, "it is killed");
    assert!(!log.1.contains("Permissions Violation"), "{}", log.1);
}

/// How long a question may take before it is asked again.
const SHORT: Duration = Duration::from_secs(1);

/// With three replicas, one server may go.
#[tokio::test(flavor = "multi_thread")]
async fn three_servers_are_one_and_go_on_without_one() {
    let (deployment, [second, third]) = Deployment::cluster().await;
    let operator = deployment.connect(Operator).await;
    let streams = jetstream::new(operator.client.clone());
    let config = stream::Config {
        name: "SENSORS".into(),
        subjects: vec!["sensors.>".into()],
        num_replicas: 3,
        ..Default::default()
    };
    // Until the servers have found each other there is nobody to make a stream, or even to say so.
    let made = async || {
        let made = tokio::time::timeout(SHORT, streams.create_stream(config.clone())).await;
        matches!(made, Ok(Ok(_)))
    };
    eventually("a stream of three replicas is made", made).await;
    let publisher = deployment.connect(Publisher).await;
    stored(&publisher.client, "sensors.cam.1").await;
    second.stop().await;
    // Where the leader was, there is none for a moment.
    let is_stored = async || {
        let request = Request::new().payload("x".into()).timeout(Some(SHORT));
        publisher
            .client
            .send_request("sensors.cam.2", request)
            .await
            .is_ok_and(|ack| ack.payload.starts_with(b"{\"stream"))
    };
    eventually("two of three store a message", is_stored).await;
    third.stop().await;
}

async fn eventually(what: &str, fits: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fits().await {
        assert!(Instant::now() < deadline, "it never came about that {what}");
        tokio::task::yield_now().await;
    }
}

/// For trying things out, there is a server that everybody on this machine may use.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_for_trying_things_out_lets_everybody_in_here() {
    let ready_made = std::fs::read_to_string(inferbus_tests::root().join("deploy/nats/dev.conf")).expect("dev.conf");
    assert!(ready_made.contains("listen: 127.0.0.1:4222") && ready_made.contains("http: 127.0.0.1:8222"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("dev.conf");
    let apart = ready_made.replace("store_dir: ./inferbus-state", "").replace("127.0.0.1:8222", "127.0.0.1:-1");
    std::fs::write(&config, apart).expect("the configuration");
    let server = DevServer::start(Settings { config: Some(&config), ..Settings::default() }).await.expect("a server");
    let bundle = digits("1.0.0");
    let push = ["push", bundle.to_str().expect("UTF-8"), "--activate"];
    block_in_place(|| inferbus(server.url(), &push)).ok();
}

/// Why the roles have accounts: within one, an allow-list of a single acknowledgement is enough to delete any stream.
#[tokio::test(flavor = "multi_thread")]
async fn in_one_account_the_server_answers_to_subjects_that_the_sender_may_not_write_to() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("server.conf");
    let permissions = r#"publish: ["sensors.>", "$JS.ACK.SENSORS.reader.>"], subscribe: ["_INBOX_reader.>"]"#;
    let users =
        format!(r#"{{user: operator, password: x}}, {{user: reader, password: x, permissions: {{ {permissions} }}}}"#);
    std::fs::write(&config, format!("authorization {{ users: [{users}] }}")).expect("the configuration");
    let server = DevServer::start(Settings { config: Some(&config), ..Settings::default() }).await.expect("a server");
    let connect = |user: &str| async_nats::ConnectOptions::with_user_and_password(user.into(), "x".into());
    let operator = connect("operator").connect(server.url()).await.expect("a connection");
    let reader = connect("reader").custom_inbox_prefix("_INBOX_reader").connect(server.url()).await.expect("connected");
    let streams = jetstream::new(operator.clone());
    for (name, subject) in [("SENSORS", "sensors.>"), ("CATALOG", "catalog.>")] {
        let config = stream::Config { name: name.into(), subjects: vec![subject.into()], ..Default::default() };
        streams.create_stream(config).await.expect("a stream");
    }
    let config = pull::Config { durable_name: Some("reader".into()), ..Default::default() };
    streams.create_consumer_on_stream(config, "SENSORS").await.expect("a consumer");
    stored(&reader, "sensors.1").await;
    let message = pull(&operator, "SENSORS", "reader").await;
    let mut deleted = operator.subscribe("$JS.EVENT.ADVISORY.STREAM.DELETED.CATALOG").await.expect("a subscription");
    streams.stream_names().try_collect::<Vec<_>>().await.expect("the subscription is known");

    reader.publish_with_reply("sensors.2", "catalog.forged", "x".into()).await.expect("sent");
    stored(&reader, "sensors.3").await;
    let forged = async || streams.get_stream("CATALOG").await.expect("a stream").cached_info().state.messages == 1;
    eventually("the confirmation goes where the sender said", forged).await;

    let ack = message.reply.expect("a subject for the acknowledgement");
    reader.publish_with_reply(ack, "$JS.API.STREAM.DELETE.CATALOG", "+ACK".into()).await.expect("sent");
    tokio::time::timeout(PATIENCE, deleted.next()).await.expect("the stream is deleted in time").expect("an advisory");
}
