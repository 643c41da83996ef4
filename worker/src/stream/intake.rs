//! What a worker has in hand of one stream's route, from the moment a message arrives until it is settled.
//!
//! Promises: a message is in hand once, however often the server delivers it. The server hears of it until it is settled
//! or its deadline has passed. Messages of one key are handed to the lanes one after the other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_nats::datetime::DateTime;
use async_nats::jetstream::Context;
use async_nats::{Message, Subject};
use inferbus_catalog::{Priority, Route, RouteName, StreamOptions};
use tokio::sync::Notify;

use super::delivery::{Delivery, Stored};
use super::places::Place;
use super::{acks, names, settle, setup};
use crate::lanes::lane::Job;
use crate::limits;
use crate::observe::metrics::RouteMetrics;
use crate::observe::telemetry::message_span;
use crate::outcome::Refusal;
use crate::requests::admission::{Bus, Ticket};

pub struct Intake {
    pub bus: Arc<Bus>,
    pub context: Context,
    pub name: RouteName,
    pub route: Route,
    pub options: StreamOptions,
    /// The stream by name and birth.
    pub identity: String,
    /// For how long after a message was stored the server is sure to know its result.
    pub window: Duration,
    pub consumer: String,
    pub results: String,
    pub metrics: RouteMetrics,
    /// Rings when there may be reason to ask for more.
    pub bell: Notify,
    /// The stream or the consumer is another one by now: no word of what is in hand here may reach it.
    retired: AtomicBool,
    /// When the consumer was made.
    consumer_created: DateTime,
    /// Held by whoever tries again to reach the server, so that only one does.
    pub gate: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    in_hand: BTreeMap<u64, InHand>,
    /// Keys that a lane has, each with the messages that wait for it.
    keys: HashMap<String, VecDeque<Box<Job<Ticket>>>>,
    /// Why nothing can be published now.
    trouble: Option<String>,
    appetite: Appetite,
    /// When a dead letter was last told of, and how many were not since.
    told: Option<Instant>,
    untold: usize,
}

struct InHand {
    ack: Subject,
    deadline: Instant,
    /// Whether the message was here when the server last heard of it.
    heard_of: bool,
}

/// How much to have in hand: what was settled lately, so that a slow model does not hoard what others could do.
struct Appetite {
    size: usize,
    settled: usize,
    since: Instant,
}

impl Default for Appetite {
    fn default() -> Self {
        Self { size: 0, settled: 0, since: Instant::now() }
    }
}

impl Appetite {
    fn now(&mut self, least: usize) -> usize {
        if self.since.elapsed() >= limits::APPETITE_SPAN {
            (self.size, self.settled, self.since) = (self.settled, 0, Instant::now());
        }
        self.size.max(self.settled).clamp(least, limits::APPETITE)
    }
}

impl Intake {
    pub fn new(
        bus: Arc<Bus>,
        context: Context,
        (name, route, options): (RouteName, Route, StreamOptions),
        identity: String,
        (window, consumer_created): (Duration, DateTime),
    ) -> Arc<Self> {
        let consumer = names::consumer(&name);
        let results = names::results(&name, &route);
        let metrics = bus.metrics.route(&name);
        let window = window.saturating_sub(limits::CLOCK_SKEW);
        let (bell, gate, state) = (Notify::new(), tokio::sync::Mutex::new(()), Mutex::default());
        let intake = Self {
            window,
            bus,
            context,
            name,
            route,
            options,
            identity,
            consumer,
            results,
            metrics,
            bell,
            retired: AtomicBool::new(false),
            consumer_created,
            gate,
            state,
        };
        let intake = Arc::new(intake);
        tokio::spawn(give_signs_of_life(Arc::downgrade(&intake)));
        tokio::spawn(look_again_and_again(Arc::downgrade(&intake)));
        intake
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing inside can be left half done, so a panic elsewhere does not matter here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages to ask for now.
    pub fn appetite(&self) -> usize {
        let mut state = self.state();
        let appetite = state.appetite.now(limits::LEAST_PER_LANE * self.bus.given.lane_count);
        let free = appetite.saturating_sub(state.in_hand.len());
        // Asking for a few at a time would cost more than it brings.
        if free * 4 < appetite { 0 } else { free }
    }

    pub fn trouble(&self) -> Option<String> {
        self.state().trouble.clone()
    }

    /// Says why nothing can be published now, or that it can again.
    pub fn set_trouble(&self, trouble: Option<String>) {
        let mut state = self.state();
        if state.trouble != trouble {
            state.trouble = trouble;
            drop(state);
            self.bell.notify_one();
        }
    }

    /// Takes what has arrived, and hands it to a lane or says at once what becomes of it.
    pub fn begin(self: &Arc<Self>, message: Message, (ack, stored): (Subject, Stored), place: Place, asked: Instant) {
        let received = Instant::now();
        self.metrics.pending.set(i64::try_from(stored.pending).unwrap_or(i64::MAX));
        if stored.deliveries > 1 {
            self.metrics.redelivered.inc();
        }
        let deadline = received + self.options.deadline.duration();
        let fresh = InHand { ack: ack.clone(), deadline, heard_of: false };
        if let Some(known) = self.state().in_hand.insert(stored.sequence, fresh) {
            // The server gave up waiting for a message that is still here: the newer delivery only lends it its time.
            tracing::debug!(route = %self.name, sequence = stored.sequence, late = ?known.deadline, "delivered again while in hand");
            return;
        }
        let Message { subject, payload, headers, .. } = message;
        let output = self.route.output_for(&subject).unwrap_or_default();
        let (intake, key) = (self.clone(), None);
        let id: Arc<str> = names::message_id(&self.identity, stored.sequence, &self.name).into();
        let name = id.clone();
        let delivery = Box::new(Delivery {
            intake,
            id,
            subject,
            ack,
            stored,
            headers,
            payload,
            output,
            key,
            asked,
            received,
            place,
        });
        if delivery.output.is_empty() {
            // The consumer's filter is the route's subject, so nothing else can come.
            tracing::error!(route = %self.name, subject = %delivery.subject, "delivered, but the route does not take it");
            return;
        }
        if stored.deliveries > self.options.deliveries {
            let deliveries = stored.deliveries - 1;
            tokio::spawn(settle::refused(delivery, Refusal::TooOften { deliveries }));
            return;
        }
        if stored.deliveries > 1
            && let Some(deaths) = self.bus.given.journal.as_ref().and_then(|journal| journal.guilty(&name))
        {
            tokio::spawn(settle::refused(delivery, Refusal::Crashed { deaths }));
            return;
        }
        match self.bus.admit(self.route.model.as_ref(), delivery.payload.len(), delivery.headers.as_ref()) {
            Ok((bundle, wire)) => {
                let span = message_span(&bundle.identity, delivery.headers.as_ref());
                let payload = delivery.payload.clone();
                self.submit(Box::new(Job {
                    bundle,
                    payload,
                    wire,
                    name: Some(name),
                    received,
                    deadline: None,
                    urgent: self.route.priority == Priority::High,
                    span,
                    ticket: Ticket::Stream(delivery),
                }));
            }
            Err(refusal) => {
                tokio::spawn(settle::refused(delivery, refusal));
            }
        }
    }

    /// To a lane, or behind the message of the same key that has one.
    fn submit(&self, mut job: Box<Job<Ticket>>) {
        if let Ticket::Stream(delivery) = &mut job.ticket
            && let Some(key) = self.route.key_for(&delivery.subject)
        {
            // From here on the key is its own, and given on when it is dropped.
            delivery.key = Some(key.clone());
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
        // Only lanes that have ended refuse, since they hold as much as there are places. Another worker gets it then.
        drop(self.bus.lanes.submit(*job));
    }

    /// A message is settled or given up: its key's next one may go, and there is room for another.
    pub fn let_go(&self, sequence: u64, key: Option<&str>) {
        let mut state = self.state();
        state.in_hand.remove(&sequence);
        state.appetite.settled += 1;
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
        self.bell.notify_one();
    }

    /// The newest delivery's subject: the one that the server listens to.
    pub fn newest_ack(&self, sequence: u64) -> Option<Subject> {
        self.state().in_hand.get(&sequence).map(|in_hand| in_hand.ack.clone())
    }

    /// Whatever has been in hand since the last round.
    fn waiting(&self) -> Vec<Subject> {
        let now = Instant::now();
        let mut state = self.state();
        let due = state.in_hand.values_mut().filter_map(|in_hand| {
            let due = std::mem::replace(&mut in_hand.heard_of, true) && now < in_hand.deadline;
            due.then(|| in_hand.ack.clone())
        });
        due.collect()
    }

    /// Whether this is still the same stream and consumer.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Relaxed)
    }

    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        self.bell.notify_one();
    }

    /// Whether the route has this intake's stream and consumer.
    pub fn is_of(&self, identity: &str, consumer_created: DateTime) -> bool {
        !self.is_retired() && self.identity == identity && self.consumer_created == consumer_created
    }

    /// One line a second, because every message of a stream may be bad: `inferbus dlq ls` lists them all.
    pub fn tell_of_dead_letter(&self, sequence: u64, reason: &str, text: &str) {
        let mut state = self.state();
        if state.told.is_some_and(|told| told.elapsed() < limits::DEAD_LETTER_LINES) {
            state.untold += 1;
            return;
        }
        let untold = std::mem::take(&mut state.untold);
        state.told = Some(Instant::now());
        drop(state);
        tracing::warn!(route = %self.name, sequence, reason, untold, "a dead letter: {text}");
    }

    /// Waits until nothing is in hand.
    pub async fn emptied(&self) {
        loop {
            let rung = self.bell.notified();
            if self.state().in_hand.is_empty() {
                return;
            }
            rung.await;
        }
    }

    async fn look(&self) {
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

/// Tells the server of all that is in hand, as long as somebody has something in hand.
async fn give_signs_of_life(intake: Weak<Intake>) {
    let Some(ack_wait) = intake.upgrade().map(|intake| intake.options.ack_wait.duration()) else { return };
    let mut signs = tokio::time::interval(ack_wait / limits::SIGNS_PER_ACK_WAIT);
    loop {
        signs.tick().await;
        let Some(intake) = intake.upgrade().filter(|intake| !intake.is_retired()) else { return };
        for ack in intake.waiting() {
            acks::in_progress(&intake.bus.client, ack).await;
        }
    }
}

/// Keeps the figures of what waits, and sees when the consumer is no longer the same.
async fn look_again_and_again(intake: Weak<Intake>) {
    let mut looks = tokio::time::interval(limits::LOOK_AT_CONSUMER);
    loop {
        looks.tick().await;
        match intake.upgrade().filter(|intake| !intake.is_retired()) {
            Some(intake) => intake.look().await,
            None => return,
        }
    }
}
