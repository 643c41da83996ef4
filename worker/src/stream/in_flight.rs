//! The messages of one stream route in flight at this worker, from arrival to settlement.
//!
//! Guarantees: a message is in flight once, however often the server delivers it. The server gets in-progress acks
//! until settlement or the deadline. Messages of one key go to the lanes in order, one at a time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use async_nats::{HeaderMap, Message, Subject};
use bytes::Bytes;
use inferbus_catalog::{Priority, Route, RouteName, StreamOptions};
use inferbus_pipeline::Refusal;
use tokio::sync::Notify;

use super::ack_subject::StoredMessage;
use super::context::StreamContext;
use super::credits::StreamPlace;
use super::pull_window::PullWindow;
use super::{acks, names, setup};
use crate::lanes::queue::Job;
use crate::lanes::ticket::Ticket;
use crate::limits;
use crate::observe::metrics::RouteMetrics;
use crate::observe::telemetry::message_span;

/// One delivery of a stored message. Dropping it returns its place; the server redelivers an unacknowledged message.
pub struct Delivery {
    pub in_flight: Arc<InFlight>,
    /// The message id of its result.
    pub id: Arc<str>,
    pub subject: Subject,
    /// The subject for acknowledgements of this delivery.
    pub ack: Subject,
    pub stored: StoredMessage,
    pub headers: Option<HeaderMap>,
    pub payload: Bytes,
    /// The subject of the result, and the prefix of emitted events.
    pub output: String,
    pub key: Option<String>,
    /// A lower bound of the delivery time: the newest pull request before it.
    pub requested_at: Instant,
    pub received: Instant,
    /// Returned when the delivery is dropped.
    pub _place: StreamPlace,
}

impl Delivery {
    /// The time limit of this delivery, in any state.
    pub fn deadline(&self) -> Instant {
        self.received + self.in_flight.options.deadline.duration()
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.in_flight.release(self.stored.sequence, self.key.as_deref());
    }
}

/// The next step of an arrived message.
pub enum Arrived {
    /// It went to a lane, or waits for an earlier message of its key.
    Accepted,
    /// The newer delivery of a message in flight, or a message of another route.
    Ignored,
    Refused(Box<Delivery>, Refusal),
}

pub struct InFlight {
    pub cx: Arc<StreamContext>,
    pub context: Context,
    pub name: RouteName,
    pub route: Route,
    pub options: StreamOptions,
    /// The stream by name and creation time.
    pub identity: String,
    /// The time after storage during which the server certainly detects a duplicate result.
    pub window: Duration,
    pub consumer: String,
    pub results: String,
    pub metrics: RouteMetrics,
    /// Notified when another pull may be useful.
    pub changed: Notify,
    /// The stream or the consumer was replaced: acknowledgements of these messages must not reach the new one.
    retired: AtomicBool,
    consumer_created: DateTime,
    /// Held by the one message with retries to the server.
    pub retry_gate: tokio::sync::Mutex<()>,
    /// Creates the ticket of a delivery; settlement is above this file.
    ticket: fn(Box<Delivery>) -> Ticket,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<u64, Entry>,
    /// The keys with a message on a lane, each with the later messages of the key.
    keys: HashMap<String, VecDeque<Box<Job<Ticket>>>>,
    /// The reason for failing storage.
    trouble: Option<String>,
    window: PullWindow,
    /// The last log line about a dead letter, and the number of dead letters since.
    logged: Option<Instant>,
    unlogged: usize,
}

struct Entry {
    ack: Subject,
    deadline: Instant,
    /// Whether the last round of in-progress acks included the message.
    reported: bool,
}

/// A job and its ordering key.
type KeyedJob = (Option<String>, Box<Job<Ticket>>);

impl InFlight {
    pub fn new(
        cx: Arc<StreamContext>,
        context: Context,
        (name, route, options): (RouteName, Route, StreamOptions),
        identity: String,
        (window, consumer_created): (Duration, DateTime),
        ticket: fn(Box<Delivery>) -> Ticket,
    ) -> Arc<Self> {
        let consumer = names::consumer(&name);
        let results = names::results(&name, &route);
        let metrics = cx.metrics.route(&name);
        let window = window.saturating_sub(limits::CLOCK_SKEW);
        let (changed, retry_gate, state) = (Notify::new(), tokio::sync::Mutex::new(()), Mutex::default());
        let in_flight = Self {
            window,
            cx,
            context,
            name,
            route,
            options,
            identity,
            consumer,
            results,
            metrics,
            changed,
            retired: AtomicBool::new(false),
            consumer_created,
            retry_gate,
            ticket,
            state,
        };
        let in_flight = Arc::new(in_flight);
        tokio::spawn(send_in_progress(Arc::downgrade(&in_flight)));
        tokio::spawn(poll_consumer(Arc::downgrade(&in_flight)));
        in_flight
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change completes without a panic, so a poisoned lock still holds a consistent state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of messages to pull now.
    pub fn pull_size(&self) -> usize {
        let mut state = self.state();
        let window = state.window.size(limits::LEAST_PER_LANE * self.cx.dispatch.lane_count);
        let free = window.saturating_sub(state.messages.len());
        // Pulling a few messages at a time costs more than it gains.
        if free * 4 < window { 0 } else { free }
    }

    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// Sets the reason for failing storage, or clears it.
    pub fn set_trouble(&self, trouble: Option<String>) {
        let mut state = self.state();
        if state.trouble != trouble {
            state.trouble = trouble;
            drop(state);
            self.changed.notify_one();
        }
    }

    /// Registers an arrived message, and hands it to a lane.
    pub fn arrive(
        self: &Arc<Self>,
        message: Message,
        (ack, stored): (Subject, StoredMessage),
        place: StreamPlace,
        requested_at: Instant,
    ) -> Arrived {
        let received = Instant::now();
        self.metrics.pending.set(i64::try_from(stored.pending).unwrap_or(i64::MAX));
        if stored.deliveries > 1 {
            self.metrics.redelivered.inc();
        }
        if !self.register(&ack, stored.sequence, received) {
            return Arrived::Ignored;
        }
        let Message { subject, payload, headers, .. } = message;
        let output = self.route.output_for(&subject).unwrap_or_default();
        let id = names::message_id(&self.identity, stored.sequence, &self.name).into();
        let (in_flight, key) = (self.clone(), None);
        let delivery = Box::new(Delivery {
            in_flight,
            id,
            subject,
            ack,
            stored,
            headers,
            payload,
            output,
            key,
            requested_at,
            received,
            _place: place,
        });
        if delivery.output.is_empty() {
            // The consumer's filter is the route's subject, so this is a defect.
            tracing::error!(
                route = %self.name, subject = %delivery.subject, "ignored a message outside the route's subject"
            );
            return Arrived::Ignored;
        }
        match self.prepare(delivery) {
            Ok(job) => {
                self.submit(job);
                Arrived::Accepted
            }
            Err((delivery, refusal)) => Arrived::Refused(delivery, refusal),
        }
    }

    /// Returns false for a message already in flight: the newer delivery only extends its time.
    fn register(&self, ack: &Subject, sequence: u64, received: Instant) -> bool {
        let deadline = received + self.options.deadline.duration();
        let entry = Entry { ack: ack.clone(), deadline, reported: false };
        let known = self.state().messages.insert(sequence, entry);
        if let Some(known) = &known {
            tracing::debug!(route = %self.name, sequence, late = ?known.deadline, "redelivered while in flight");
        }
        known.is_none()
    }

    /// The job of a delivery, or its refusal.
    fn prepare(self: &Arc<Self>, mut delivery: Box<Delivery>) -> Result<KeyedJob, (Box<Delivery>, Refusal)> {
        let deliveries = delivery.stored.deliveries;
        if deliveries > self.options.deliveries {
            return Err((delivery, Refusal::TooOften { deliveries: deliveries - 1 }));
        }
        if deliveries > 1
            && let Some(crashes) = self.cx.journal.as_ref().and_then(|journal| journal.crash_count(&delivery.id))
        {
            return Err((delivery, Refusal::Crashed { crashes }));
        }
        let active = self.cx.dispatch.registry.active(self.route.model.as_ref());
        let admitted = active.and_then(|bundle| {
            let encoding = bundle.admits(delivery.payload.len(), delivery.headers.as_ref())?;
            Ok((bundle, encoding))
        });
        let (bundle, encoding) = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => return Err((delivery, refusal)),
        };
        let span = message_span(&bundle.identity, delivery.headers.as_ref());
        let (payload, received, name) = (delivery.payload.clone(), delivery.received, delivery.id.clone());
        let key = self.route.key_for(&delivery.subject);
        // From here on the delivery owns the key; its drop releases the key's next message.
        delivery.key = key.clone();
        let urgent = self.route.priority == Priority::High;
        let ticket = (self.ticket)(delivery);
        let name = Some(name);
        let job = Job { bundle, payload, encoding, name, received, deadline: None, urgent, span, ticket };
        Ok((key, Box::new(job)))
    }

    /// Sends a job to a lane, or queues it behind the earlier message of its key.
    fn submit(&self, (key, job): KeyedJob) {
        if let Some(key) = key {
            let mut state = self.state();
            if let Some(waiting) = state.keys.get_mut(&key) {
                waiting.push_back(job);
                return;
            }
            state.keys.insert(key, VecDeque::new());
        }
        self.to_lane(job);
    }

    fn to_lane(&self, job: Box<Job<Ticket>>) {
        // The lanes have room for every place, so only stopped lanes reject a job. The server redelivers it.
        drop(self.cx.dispatch.queue.push(*job));
    }

    /// Removes a message, submits the next message of its key, and permits another pull.
    pub fn release(&self, sequence: u64, key: Option<&str>) {
        let mut state = self.state();
        state.messages.remove(&sequence);
        state.window.settled();
        let next = key.and_then(|key| {
            let next = state.keys.get_mut(key)?.pop_front();
            if next.is_none() {
                state.keys.remove(key);
            }
            next
        });
        drop(state);
        if let Some(next) = next {
            self.to_lane(next);
        }
        self.changed.notify_one();
    }

    /// The newest delivery's subject: the server ignores older ones.
    pub fn newest_ack(&self, sequence: u64) -> Option<Subject> {
        self.state().messages.get(&sequence).map(|entry| entry.ack.clone())
    }

    /// The messages in flight since the last round.
    fn due_for_in_progress(&self) -> Vec<Subject> {
        let now = Instant::now();
        let mut state = self.state();
        let due = state.messages.values_mut().filter_map(|entry| {
            let due = std::mem::replace(&mut entry.reported, true) && now < entry.deadline;
            due.then(|| entry.ack.clone())
        });
        due.collect()
    }

    /// Whether the stream or the consumer was replaced.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.changed.notify_one();
    }

    /// Whether these are the stream and consumer of the messages in flight.
    pub fn is_same(&self, identity: &str, consumer_created: DateTime) -> bool {
        !self.is_retired() && self.identity == identity && self.consumer_created == consumer_created
    }

    /// Logs one line per second, because every message may be bad. `inferbus dlq ls` lists all dead letters.
    pub fn log_dead_letter(&self, sequence: u64, reason: &str, text: &str) {
        let mut state = self.state();
        if state.logged.is_some_and(|logged| logged.elapsed() < limits::DEAD_LETTER_LINES) {
            state.unlogged += 1;
            return;
        }
        let unlogged = std::mem::take(&mut state.unlogged);
        state.logged = Some(Instant::now());
        drop(state);
        tracing::warn!(route = %self.name, sequence, reason, unlogged, "a dead letter: {text}");
    }

    /// Waits until zero messages are in flight.
    pub async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.state().messages.is_empty() {
                return;
            }
            changed.await;
        }
    }

    async fn poll(&self) {
        let info = setup::consumer_info(&self.context, self.options.stream.as_str(), &self.consumer).await;
        if let Ok(Some(info)) = info {
            if info.created != self.consumer_created {
                self.retire();
            }
            self.metrics.pending.set(i64::try_from(info.num_pending).unwrap_or(i64::MAX));
            self.metrics.unacked.set(i64::try_from(info.num_ack_pending).unwrap_or(i64::MAX));
        }
    }
}

/// Sends in-progress acks until all owners of the route's messages have dropped them.
async fn send_in_progress(in_flight: Weak<InFlight>) {
    let Some(ack_wait) = in_flight.upgrade().map(|in_flight| in_flight.options.ack_wait.duration()) else { return };
    let mut rounds = tokio::time::interval(ack_wait / limits::IN_PROGRESS_PER_ACK_WAIT);
    loop {
        rounds.tick().await;
        let Some(in_flight) = in_flight.upgrade().filter(|in_flight| !in_flight.is_retired()) else { return };
        for ack in in_flight.due_for_in_progress() {
            acks::in_progress(&in_flight.cx.client, ack).await;
        }
    }
}

/// Updates the consumer's gauges, and retires the messages after a replacement of the consumer.
async fn poll_consumer(in_flight: Weak<InFlight>) {
    let mut polls = tokio::time::interval(limits::CONSUMER_POLL);
    loop {
        polls.tick().await;
        match in_flight.upgrade().filter(|in_flight| !in_flight.is_retired()) {
            Some(in_flight) => in_flight.poll().await,
            None => return,
        }
    }
}
