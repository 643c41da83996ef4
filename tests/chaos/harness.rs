//! The chaos tests' own tools: an audit of every kind of fault, a cluster without its leader, a stalled proxy.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use inferbus::nats::connect::round_trip;
use inferbus_tests::audit::Records;
use inferbus_tests::cluster::Cluster;
use inferbus_tests::node::NodeConfig;
use inferbus_tests::proxy::Proxy;
use inferbus_tests::publisher::{INPUT, Publisher, ROUTE};
use inferbus_tests::sensor_bundle::{End, end, payload};
use inferbus_tests::stored::Stored;
use inferbus_tests::{PATIENCE, until_async};

const INPUTS: u64 = 32;
const IDENTITY: &str = "SENSORS@1";

/// The records of a run without faults.
fn sound() -> Records {
    let mut records = Records {
        route: ROUTE.into(),
        stream: INPUT.into(),
        identity: IDENTITY.into(),
        confirmed: (1..=INPUTS).map(|sequence| (sequence, sequence)).collect(),
        inputs: Vec::new(),
        results: Vec::new(),
        dead_letters: Vec::new(),
    };
    for sequence in 1..=INPUTS {
        let input = stored("in.0", payload(sequence), &[]);
        let id = format!("{IDENTITY}/{sequence}/{ROUTE}");
        let made = |subject: &str, id: &str| {
            let number = sequence.to_string();
            let of = [("Inferbus-Route", ROUTE), ("Inferbus-Stream", INPUT), ("Inferbus-Sequence", &number)];
            let more = [("Nats-Msg-Id", id), ("Inferbus-Reason", "refused"), ("Inferbus-Subject", "in.0")];
            stored(subject, input.payload.clone(), &[of, more].concat())
        };
        match end(&input.payload) {
            End::Result => records.results.extend([made("out.0.seen", &format!("{id}/1")), made("out.0", &id)]),
            End::NoResult => {}
            End::Refused => records.dead_letters.push(made(&format!("inferbus.dlq.{ROUTE}.{sequence}"), &id)),
        }
        records.inputs.push(input);
    }
    for stream in [&mut records.inputs, &mut records.results, &mut records.dead_letters] {
        (1..).zip(stream).for_each(|(sequence, stored)| stored.sequence = sequence);
    }
    records
}

fn stored(subject: &str, payload: Bytes, pairs: &[(&str, &str)]) -> Stored {
    let mut headers = HeaderMap::new();
    pairs.iter().for_each(|(name, value)| headers.insert(*name, *value));
    Stored { sequence: 0, subject: subject.into(), headers, payload, time: 0 }
}

#[test]
fn a_sound_account_counts_every_end() {
    let audit = sound().audit().is_sound();
    assert_eq!((audit.inputs, audit.results, audit.no_results, audit.dead_letters), (32, 28, 2, 2));
}

#[test]
fn the_account_finds_every_kind_of_fault() {
    type Harm = fn(&mut Records);
    // Results and events alternate, beginning with the event of message 1. The first dead letter is message 11.
    let cases: [(Harm, &str); 13] = [
        (|records| drop(records.results.remove(1)), "1: 1 result expected, 0 found"),
        (|records| drop(records.results.remove(0)), "1: 1 event expected, 0 found"),
        (|records| records.results.push(records.results[1].clone()), "1: 1 result expected, 2 found; 2 on out.0"),
        (|records| records.results.push(records.results[0].clone()), "1: 1 event expected, 2 found"),
        (|records| records.results[0].sequence = 99, "1: the event was stored after the result"),
        (|records| records.results[1].payload = payload(2), "1: a result with other bytes"),
        (|records| records.results[1].headers.insert("Nats-Msg-Id", ""), "a result with `Nats-Msg-Id: ` instead of"),
        (
            |records| records.results[1].headers.insert("Inferbus-Sequence", "99"),
            "99: 1 results or dead letters of a message",
        ),
        (|records| records.results[1].headers.insert("Inferbus-Sequence", ""), "does not name its message"),
        (|records| drop(records.dead_letters.remove(0)), "11: 1 dead letter expected, 0 found"),
        (|records| records.dead_letters.push(records.dead_letters[0].clone()), "11: 1 dead letter expected, 2 found"),
        (|records| records.dead_letters[0].headers.insert("Inferbus-Reason", "crashed"), "`Inferbus-Reason: crashed`"),
        (|records| drop(records.inputs.remove(0)), "1: the server confirmed number 1 and does not have it"),
    ];
    for (at, (harm, expected)) in cases.into_iter().enumerate() {
        let mut records = sound();
        harm(&mut records);
        let report = records.audit().to_string();
        assert!(report.contains(expected), "case {at}: `{expected}` is not in: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_what_it_confirmed_when_its_leader_is_killed() {
    let mut cluster = Cluster::three().await;
    let client = cluster.client().await;
    let publisher = Publisher::open(client.clone(), cluster.replicas()).await;
    publisher.publish(100).await;
    let leader = cluster.leader(&client, INPUT).await;
    cluster.kill(leader);
    publisher.publish(100).await;
    assert_ne!(cluster.leader(&client, INPUT).await, leader, "another one leads");
    cluster.start(leader).await;
    cluster.rolling_restart().await;
    let mut numbers: Vec<_> = publisher.inputs().await.into_iter().map(|input| input.payload).collect();
    numbers.sort_by_key(|payload| inferbus_tests::sensor_bundle::number(payload));
    assert_eq!(numbers, (0..200).map(payload).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_cuts_stalls_and_heals() {
    let mut cluster = Cluster::single(&NodeConfig::default()).await;
    let proxy = Proxy::start(cluster.node(0).ports.client).await;
    let options = ConnectOptions::new().max_reconnects(None).reconnect_delay_callback(|_| HELD);
    let behind = options.connect(proxy.url()).await.expect("a connection through the proxy");
    let mut up = Line::new("up", behind.clone(), cluster.client().await).await;
    let mut down = Line::new("down", cluster.client().await, behind).await;
    assert!(up.flows().await && down.flows().await);

    proxy.stall_up();
    assert!(up.is_silent().await && down.flows().await);
    proxy.heal();
    assert!(up.flows().await, "stalled messages arrive");

    proxy.stall_down();
    assert!(down.is_silent().await && up.flows().await);
    proxy.heal();
    assert!(down.flows().await, "stalled messages arrive");

    proxy.cut();
    assert!(ConnectOptions::new().connect(proxy.url()).await.is_err(), "no connection passes");
    proxy.heal();
    until_async("the client is connected again", async || up.flows().await && down.flows().await).await;
}

/// The time for a stalled message to arrive after all.
const HELD: Duration = Duration::from_millis(200);

/// From one client to another; the subscription is made while all flows.
struct Line {
    subject: &'static str,
    from: Client,
    to: Subscriber,
}

impl Line {
    async fn new(subject: &'static str, from: Client, to: Client) -> Self {
        let subscriber = to.subscribe(subject).await.expect("a subscription");
        assert!(round_trip(&to, PATIENCE).await);
        Self { subject, from, to: subscriber }
    }

    /// Sends a message, and waits for an earlier one.
    async fn flows(&mut self) -> bool {
        self.arrives_within(Duration::from_secs(5)).await
    }

    async fn is_silent(&mut self) -> bool {
        !self.arrives_within(HELD).await
    }

    async fn arrives_within(&mut self, bound: Duration) -> bool {
        self.from.publish(self.subject, "".into()).await.expect("published");
        matches!(tokio::time::timeout(bound, self.to.next()).await, Ok(Some(_)))
    }
}
