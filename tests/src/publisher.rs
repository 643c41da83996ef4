//! The publisher of numbered messages: it records the stored ones, and waits until all of them are settled.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, consumer, stream};
use inferbus::stream::names;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::PATIENCE;
use crate::audit::{Audit, Records};
use crate::pause;
use crate::sensor_bundle::payload;
use crate::stored::{Stored, read_all};
use crate::until_async;

/// The input stream, and how its subjects become those of results.
pub const INPUT: &str = "SENSORS";
pub const SUBJECTS: &str = "in.*";
pub const OUTPUT: &str = "out.$1";
pub const RESULTS: &str = "INFERBUS_RESULTS_sensor";
pub const ROUTE: &str = "sensor";

/// The number of subjects of the messages.
const KEYS: u64 = 8;

/// How long one message may take until it is stored: longer than any fault of these tests lasts.
const STORING: Duration = Duration::from_secs(180);

/// Messages on their way to the server at once.
const ON_THE_WAY: usize = 64;

pub struct Publisher {
    context: Context,
    next: AtomicU64,
    /// Sequence → number of the confirmed messages.
    confirmed: Mutex<BTreeMap<u64, u64>>,
}

impl Publisher {
    /// Makes the input stream.
    pub async fn open(client: Client, replicas: usize) -> Arc<Self> {
        let context = jetstream::new(client);
        let publisher = Self { context, next: AtomicU64::new(0), confirmed: Mutex::default() };
        publisher.create_input(replicas).await;
        Arc::new(publisher)
    }

    pub async fn create_input(&self, replicas: usize) {
        let config = stream::Config {
            name: INPUT.into(),
            subjects: vec![SUBJECTS.into()],
            num_replicas: replicas,
            duplicate_window: Duration::from_secs(600),
            ..stream::Config::default()
        };
        self.context.create_stream(config).await.expect("the input stream");
    }

    /// Forgets the stored messages, for a deleted and recreated stream. Numbers continue.
    pub fn begin_anew(&self) {
        self.confirmed.lock().expect("confirmed").clear();
    }

    pub fn context(&self) -> &Context {
        &self.context
    }

    /// Stores `count` messages.
    pub async fn publish(self: &Arc<Self>, count: u64) {
        let on_the_way = Arc::new(Semaphore::new(ON_THE_WAY));
        let mut tasks = JoinSet::new();
        for _ in 0..count {
            let permit = on_the_way.clone().acquire_owned().await.expect("never closed");
            let publisher = self.clone();
            tasks.spawn(async move {
                publisher.store(publisher.next.fetch_add(1, Ordering::Relaxed)).await;
                drop(permit);
            });
        }
        tasks.join_all().await;
    }

    /// Stores messages at a steady pace until its end.
    pub fn load(self: &Arc<Self>, per_second: u32) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(pace(self.clone(), per_second, stop.clone()));
        Load { stop, task }
    }

    /// Sends a message until the server has confirmed it. The same id makes the server store it once.
    async fn store(&self, number: u64) {
        let deadline = Instant::now() + STORING;
        loop {
            let message = PublishMessage::build().payload(payload(number)).message_id(format!("number-{number}"));
            let sent = self.context.send_publish(format!("in.{}", number % KEYS), message).await;
            let fault = match sent {
                Ok(confirmed) => match confirmed.await {
                    Ok(confirmed) => {
                        self.confirmed.lock().expect("confirmed").insert(confirmed.sequence, number);
                        return;
                    }
                    Err(fault) => fault,
                },
                Err(fault) => fault,
            };
            assert!(Instant::now() < deadline, "number {number} is not stored: {fault}");
            pause().await;
        }
    }

    pub fn stored(&self) -> usize {
        self.confirmed.lock().expect("confirmed").len()
    }

    pub async fn consumer_info(&self) -> Option<consumer::Info> {
        let stream = self.context.get_stream_no_info(INPUT).await.ok()?;
        stream.consumer_info(format!("inferbus-{ROUTE}")).await.ok()
    }

    /// Waits until the consumer's backlog is empty. It fails only after a long time without any progress.
    pub async fn settle(&self) {
        let last = self.confirmed.lock().expect("confirmed").last_key_value().map_or(0, |(sequence, _)| *sequence);
        let (mut best, mut since) = ((u64::MAX, 0), Instant::now());
        let mut latest = None;
        loop {
            if let Some(info) = self.consumer_info().await {
                let left = info.num_pending + info.num_ack_pending as u64;
                if left == 0 && info.delivered.stream_sequence >= last {
                    return;
                }
                let floor = info.ack_floor.stream_sequence;
                if left < best.0 || floor > best.1 {
                    best = (left.min(best.0), floor.max(best.1));
                    since = Instant::now();
                }
                latest = Some(info);
            }
            assert!(since.elapsed() < PATIENCE, "nothing moves for {PATIENCE:?}; of {last} messages: {latest:#?}");
            pause().await;
        }
    }

    /// The number of stored results and events; none while the stream is unavailable.
    pub async fn result_count(&self) -> Option<u64> {
        let stream = self.context.get_stream(RESULTS).await.ok()?;
        Some(stream.cached_info().state.last_sequence)
    }

    /// Waits until there are more results than there were.
    pub async fn results_beyond(&self, before: Option<u64>) {
        until_async("more results are stored", async || self.result_count().await > before).await;
    }

    /// Waits until all messages are settled, and returns the audit.
    pub async fn audit(&self) -> Audit {
        self.settle().await;
        self.records().await.audit()
    }

    pub async fn records(&self) -> Records {
        let input = self.context.get_stream(INPUT).await.expect("the input stream");
        let created = input.cached_info().created.into();
        let confirmed = self.confirmed.lock().expect("confirmed").clone();
        Records {
            route: ROUTE.into(),
            stream: INPUT.into(),
            identity: names::stream_identity(INPUT, created),
            confirmed,
            inputs: self.inputs().await,
            results: self.results().await,
            dead_letters: read_all(&self.context, names::DEAD_LETTERS).await,
        }
    }

    pub async fn inputs(&self) -> Vec<Stored> {
        read_all(&self.context, INPUT).await
    }

    /// Results and events.
    pub async fn results(&self) -> Vec<Stored> {
        read_all(&self.context, RESULTS).await
    }
}

/// Messages at a steady pace.
pub struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Load {
    /// Ends, and waits until every sent message is stored.
    pub async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every message is stored");
    }
}

async fn pace(publisher: Arc<Publisher>, per_second: u32, stop: Arc<AtomicBool>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / per_second);
    let on_the_way = Arc::new(Semaphore::new(ON_THE_WAY));
    let mut tasks = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        let permit = on_the_way.clone().acquire_owned().await.expect("never closed");
        while tasks.try_join_next().is_some_and(|stored| stored.map(|()| true).expect("stored")) {}
        let publisher = publisher.clone();
        tasks.spawn(async move {
            publisher.store(publisher.next.fetch_add(1, Ordering::Relaxed)).await;
            drop(permit);
        });
    }
    tasks.join_all().await;
}
