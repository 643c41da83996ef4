//! The chaos tests' own tools: an account that finds every kind of fault, a cluster that survives its leader, a proxy that stalls.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use inferbus::connect::round_trip;
use inferbus_tests::account::Books;
use inferbus_tests::cluster::Cluster;
use inferbus_tests::contents::Kept;
use inferbus_tests::ledger::{INPUT, Ledger, ROUTE};
use inferbus_tests::node::NodeConfig;
use inferbus_tests::proxy::Proxy;
use inferbus_tests::sensor::{End, end, payload};
use inferbus_tests::{PATIENCE, until_async};

const INPUTS: u64 = 32;
const IDENTITY: &str = "SENSORS@1";

/// The books of a run in which everything went well.
fn sound() -> Books {
    let mut books = Books {
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
            End::Result => books.results.extend([made("out.0.seen", &format!("{id}/1")), made("out.0", &id)]),
            End::NoResult => {}
            End::Refused => books.dead_letters.push(made(&format!("inferbus.dlq.{ROUTE}.{sequence}"), &id)),
        }
        books.inputs.push(input);
    }
    for stream in [&mut books.inputs, &mut books.results, &mut books.dead_letters] {
        (1..).zip(stream).for_each(|(sequence, stored)| stored.sequence = sequence);
    }
    books
}

fn stored(subject: &str, payload: Bytes, pairs: &[(&str, &str)]) -> Kept {
    let mut headers = HeaderMap::new();
    pairs.iter().for_each(|(name, value)| headers.insert(*name, *value));
    Kept { sequence: 0, subject: subject.into(), headers, payload, time: 0 }
}

#[test]
fn a_sound_account_counts_every_end() {
    let account = sound().account().is_sound();
    assert_eq!((account.inputs, account.results, account.no_results, account.dead_letters), (32, 28, 2, 2));
}

#[test]
fn the_account_finds_every_kind_of_fault() {
    type Harm = fn(&mut Books);
    // Results and events take turns, and begin with the event of message 1; the first dead letter is that of message 11.
    let cases: [(Harm, &str); 13] = [
        (|books| drop(books.results.remove(1)), "1: 1 result expected, 0 found"),
        (|books| drop(books.results.remove(0)), "1: 1 event expected, 0 found"),
        (|books| books.results.push(books.results[1].clone()), "1: 1 result expected, 2 found; 2 on out.0"),
        (|books| books.results.push(books.results[0].clone()), "1: 1 event expected, 2 found"),
        (|books| books.results[0].sequence = 99, "1: the event was stored after the result"),
        (|books| books.results[1].payload = payload(2), "1: a result with other bytes"),
        (|books| books.results[1].headers.insert("Nats-Msg-Id", ""), "a result with `Nats-Msg-Id: ` instead of"),
        (
            |books| books.results[1].headers.insert("Inferbus-Sequence", "99"),
            "99: 1 results or dead letters of a message",
        ),
        (|books| books.results[1].headers.insert("Inferbus-Sequence", ""), "does not say of which message it is"),
        (|books| drop(books.dead_letters.remove(0)), "11: 1 dead letter expected, 0 found"),
        (|books| books.dead_letters.push(books.dead_letters[0].clone()), "11: 1 dead letter expected, 2 found"),
        (|books| books.dead_letters[0].headers.insert("Inferbus-Reason", "crashed"), "`Inferbus-Reason: crashed`"),
        (|books| drop(books.inputs.remove(0)), "1: the server confirmed number 1 and does not have it"),
    ];
    for (at, (harm, expected)) in cases.into_iter().enumerate() {
        let mut books = sound();
        harm(&mut books);
        let report = books.account().to_string();
        assert!(report.contains(expected), "case {at}: `{expected}` is not in: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_what_it_confirmed_when_its_leader_is_killed() {
    let mut cluster = Cluster::three().await;
    let client = cluster.client().await;
    let ledger = Ledger::open(client.clone(), cluster.replicas()).await;
    ledger.publish(100).await;
    let leader = cluster.leader(&client, INPUT).await;
    cluster.kill(leader);
    ledger.publish(100).await;
    assert_ne!(cluster.leader(&client, INPUT).await, leader, "another one leads");
    cluster.start(leader).await;
    cluster.rolling_restart().await;
    let mut numbers: Vec<_> = ledger.inputs().await.into_iter().map(|input| input.payload).collect();
    numbers.sort_by_key(|payload| inferbus_tests::sensor::number(payload));
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
    assert!(up.flows().await, "what was held back arrives");

    proxy.stall_down();
    assert!(down.is_silent().await && up.flows().await);
    proxy.heal();
    assert!(down.flows().await, "what was held back arrives");

    proxy.cut();
    assert!(ConnectOptions::new().connect(proxy.url()).await.is_err(), "nobody gets through");
    proxy.heal();
    until_async("the client is connected again", async || up.flows().await && down.flows().await).await;
}

/// How long a message that is held back gets to show that it is not.
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

    /// Sends a message, and waits for one that was sent.
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
