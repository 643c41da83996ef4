//! The ready-made roles: each does its own work, and is denied all else.

mod attempts;

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, Context, stream};
use async_nats::{Client, Request, Subscriber};
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use inferbus::dev_server::{DevServer, Settings};
use inferbus_tests::roles::{Deployment, Guest, Proof, Role};
use inferbus_tests::{PATIENCE, Worker, ask, digits, heldout, inferbus, until, until_async};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use attempts::Verb::{Publish, Queue, Subscribe};
use attempts::{DENIED, DEPUTIES};

use Role::{Catalog, Operator, Publisher, Reader, Requester, Worker as WorkerRole};
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

/// A complete deployment, with an active version and a message in each stream.
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

    /// Every stream with its settings, its contents and its consumers.
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

/// More subjects than the route takes, for messages without a worker.
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

/// Publishes, and waits for the stream's confirmation.
async fn stored(client: &Client, subject: &'static str) {
    let ack = client.request(subject, "payload".into()).await.expect("an answer");
    let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
    assert!(ack["seq"].is_u64(), "{subject}: {ack}");
}

async fn denied_by_name(proof: Proof) {
    let ground = Ground::start(proof).await;
    let before = ground.state().await;
    let mut heard: Vec<(&str, Subscriber)> = Vec::new();
    let mut guests = Vec::new();
    for (who, attempts) in DENIED {
        let mut guest = ground.deployment.connect(*who).await;
        for (wants, verb) in *attempts {
            let subject = match *verb {
                Publish(subject, payload) => {
                    let inbox = guest.client.new_inbox();
                    guest.client.publish_with_reply(subject, inbox, payload.into()).await.expect("sent");
                    subject
                }
                Subscribe(subject) => {
                    heard.push((*wants, guest.client.subscribe(subject).await.expect("sent")));
                    subject
                }
                Queue(subject, group) => {
                    let subscriber = guest.client.queue_subscribe(subject, group.into()).await.expect("sent");
                    heard.push((*wants, subscriber));
                    subject
                }
            };
            let refusals = guest.refused().await;
            let [refusal] = refusals.as_slice() else { panic!("{who:?}: {wants}: {refusals:?}") };
            let named = refusal.to_lowercase().contains("permissions violation") && refusal.contains(subject);
            assert!(named, "{who:?}: {wants}: {refusal}");
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
async fn every_role_is_denied_the_work_of_others_by_keys() {
    let count: usize = DENIED.iter().map(|(_, attempts)| attempts.len()).sum();
    assert!(count >= 50, "{count}");
    denied_by_name(Proof::Keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_role_is_denied_the_work_of_others_by_tokens() {
    denied_by_name(Proof::Tokens).await;
}

/// Each role's own work, with a real worker.
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

    // The message stored by Ground::start is not a picture.
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

/// Takes and acknowledges two results; returns the sources of the worker's results.
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

async fn no_role_has_a_deputy(proof: Proof) {
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

/// State that no role under test may change at any time.
async fn catalog(ground: &Ground) -> Vec<Value> {
    let mut kept = kept(ground, Catalog).await;
    let others = ["INFERBUS_RESULTS_cameras", "INFERBUS_DLQ", "SENSORS"];
    kept.retain(|stream| !others.contains(&stream["config"]["name"].as_str().unwrap_or_default()));
    kept
}

/// Everything but the state this role may change.
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
        // A worker may take its messages, and `settled` adds to the sensors' data.
        if who == WorkerRole {
            stream["consumers"] = Value::Null;
        }
        if stream["config"]["name"] == "SENSORS" {
            stream["held"] = Value::Null;
        }
    }
    // A misdirected answer would overwrite the pointer.
    let pointer = ground.streams().get_stream_no_info("KV_models").await.expect("a handle");
    let pointer = pointer.get_last_raw_message_by_subject("$KV.models.digits").await.expect("a pointer");
    state.push(json!({ "pointer": pointer.sequence }));
    state
}

/// After a later answer, all earlier answers to this role have been sent.
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
async fn no_role_has_the_server_or_a_worker_write_for_it_by_keys() {
    no_role_has_a_deputy(Proof::Keys).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_has_the_server_or_a_worker_write_for_it_by_tokens() {
    no_role_has_a_deputy(Proof::Tokens).await;
}

/// A worker looks up redelivered messages among results and dead letters: its list of permissions covers this.
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
    until_async("both messages have ended", settled).await;
    block_in_place(|| assert!(!worker.log_text().contains("Permissions Violation"), "{}", worker.log_text()));
    for stream in ["INFERBUS_RESULTS_cameras", "INFERBUS_DLQ"] {
        let stream = ground.streams().get_stream(stream).await.expect("a stream");
        let held = stream.cached_info().state.messages;
        assert_eq!(held, 2, "one of a worker, and the one that the test itself stored");
    }
}

/// Starts a worker, and kills it after the server's confirmation for a payload beginning with `start`.
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
    // Before the servers have found each other, none of them makes a stream or answers.
    let made = async || {
        let made = tokio::time::timeout(SHORT, streams.create_stream(config.clone())).await;
        matches!(made, Ok(Ok(_)))
    };
    until_async("a stream of three replicas is made", made).await;
    let publisher = deployment.connect(Publisher).await;
    stored(&publisher.client, "sensors.cam.1").await;
    second.stop().await;
    // After the loss of the leader, there is none for a moment.
    let is_stored = async || {
        let request = Request::new().payload("x".into()).timeout(Some(SHORT));
        publisher
            .client
            .send_request("sensors.cam.2", request)
            .await
            .is_ok_and(|ack| ack.payload.starts_with(b"{\"stream"))
    };
    until_async("two of three store a message", is_stored).await;
    third.stop().await;
}

/// A server for experiments, open to all users of this machine.
#[tokio::test(flavor = "multi_thread")]
async fn the_server_for_experiments_is_open_to_all_local_users() {
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
    until_async("the confirmation arrives at the sender's subject", forged).await;

    let ack = message.reply.expect("a subject for the acknowledgement");
    reader.publish_with_reply(ack, "$JS.API.STREAM.DELETE.CATALOG", "+ACK".into()).await.expect("sent");
    tokio::time::timeout(PATIENCE, deleted.next()).await.expect("the stream is deleted in time").expect("an advisory");
}
