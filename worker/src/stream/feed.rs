//! One stream's route: what it needs is prepared, then messages are asked for, for free places only.
//!
//! Promises: one request for messages is open at a time, and all it can bring has its places and bytes before it is sent.
//! Nothing is asked for while the model is missing or results cannot be stored. Whatever goes wrong is said in the log and
//! in the worker's readiness, and tried again with growing pauses until it is mended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::datetime::DateTime;
use async_nats::jetstream::{self, Context};
use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt as _;
use inferbus_catalog::{Route, RouteName, StreamOptions};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::delivery::Stored;
use super::intake::Intake;
use super::objects::ORDERED;
use super::places::Reserve;
use super::setup::{self, Missing, Prepared};
use super::{acks, names};
use crate::failpoint;
use crate::limits;
use crate::models::registry::Found;
use crate::nats::connect;
use crate::requests::admission::Bus;

pub struct Feed {
    bus: Arc<Bus>,
    context: Context,
    name: RouteName,
    route: Route,
    options: StreamOptions,
    intake: Option<Arc<Intake>>,
    /// What readiness says of this route.
    alarm: Option<String>,
    begun: bool,
    /// By which the server knows the one worker that an ordered route has at a time.
    pin: Option<String>,
    /// The server said nothing at all in the last round.
    was_silent: bool,
}

/// Why a feed no longer pulls.
enum Ended {
    Stopped,
    /// The connection was another one, or a server took over: nothing is wrong.
    Again,
    Fault(String),
}

impl Feed {
    pub fn new(bus: Arc<Bus>, name: RouteName, route: Route, options: StreamOptions) -> Self {
        let mut context = jetstream::new(bus.client.clone());
        context.set_timeout(limits::CONFIRM);
        Self {
            bus,
            context,
            name,
            route,
            options,
            intake: None,
            alarm: None,
            begun: false,
            pin: None,
            was_silent: false,
        }
    }

    /// Serves the route until told to stop. What is in hand then is finished by others.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = limits::RETRY_FIRST;
        // A route that was changed may have left an alarm.
        self.bus.registry.set_route_problem(&self.name, None);
        loop {
            let began = Instant::now();
            let why = match self.serve(&stop).await {
                Ended::Stopped => break,
                Ended::Again => {
                    pause = limits::RETRY_FIRST;
                    continue;
                }
                Ended::Fault(why) => why,
            };
            self.raise(Some(why));
            if began.elapsed() > limits::RETRY_SETUP {
                pause = limits::RETRY_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(limits::RETRY_SETUP),
                () = stop.cancelled() => break,
            }
        }
        self.make_way().await;
        tracing::info!(route = %self.name, "route ended");
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Ended {
        let prepared = tokio::select! {
            prepared = setup::prepare(&self.context, &self.name, &self.route, &self.options, Missing::Create) => prepared,
            () = stop.cancelled() => return Ended::Stopped,
        };
        let intake = match prepared {
            Ok(prepared) => self.intake(prepared),
            Err(fault) => return Ended::Fault(fault.to_string()),
        };
        let inbox = self.bus.client.new_inbox();
        let messages = match self.bus.client.subscribe(format!("{inbox}.*")).await {
            Ok(messages) => messages,
            Err(fault) => return Ended::Fault(format!("messages cannot be subscribed to: {fault}")),
        };
        if !std::mem::replace(&mut self.begun, true) {
            let Route { subject, model, output, .. } = &self.route;
            tracing::info!(route = %self.name, stream = %self.options.stream, subject, %model, output, "route begins");
        }
        let puller = Puller::new(intake, inbox, self.pin.take());
        self.pull(puller, messages, stop).await
    }

    /// What is in hand stays known over a lost connection, but not to another stream of the same name.
    fn intake(&mut self, prepared: Prepared) -> Arc<Intake> {
        let Prepared { identity, found } = prepared;
        let window = found.results.map_or(Duration::ZERO, |results| results.config.duplicate_window);
        let created = found.consumer.map_or(DateTime::UNIX_EPOCH, |consumer| consumer.created);
        if let Some(intake) = &self.intake {
            if intake.is_of(&identity, created) {
                return intake.clone();
            }
            intake.retire();
        }
        let what = (self.name.clone(), self.route.clone(), self.options.clone());
        let intake = Intake::new(self.bus.clone(), self.context.clone(), what, identity, (window, created));
        self.intake.insert(intake).clone()
    }

    async fn pull(&mut self, mut puller: Puller, mut messages: Subscriber, stop: &CancellationToken) -> Ended {
        let connection = self.bus.metrics.connections.get();
        let mut tick = tokio::time::interval(limits::FEED_TICK);
        let mut look = true;
        let ended = loop {
            // Not for every message: while a request is open there is nothing to decide.
            if std::mem::take(&mut look) || puller.open.is_none() {
                let obstacle = puller.obstacle();
                if obstacle.is_none() {
                    puller.ask().await;
                }
                self.raise(match obstacle {
                    Some(Obstacle::Fault(why)) => Some(why),
                    Some(Obstacle::Cold) => None,
                    None => puller.shortage(),
                });
            }
            tokio::select! {
                message = messages.next() => match message.map(|message| puller.take(message)) {
                    Some(None) => {}
                    Some(Some(ended)) => break ended,
                    None => break Ended::Again,
                },
                () = puller.intake.bell.notified() => {}
                () = puller.intake.bus.room.freed(), if puller.short_since.is_some() => {}
                _ = tick.tick() => {
                    if self.bus.metrics.connections.get() != connection || puller.intake.is_retired() {
                        break Ended::Again;
                    }
                    if puller.is_silent() {
                        break self.silence(&puller);
                    }
                    look = true;
                }
                () = stop.cancelled() => break Ended::Stopped,
            }
        };
        // What the server had sent already is worked on.
        for message in connect::unsubscribe(&self.bus.client, messages).await {
            puller.take(message);
        }
        self.was_silent = puller.is_silent();
        self.pin = puller.pin;
        ended
    }

    /// Once it may be the network's fault, twice in a row it is something else.
    fn silence(&self, puller: &Puller) -> Ended {
        if self.was_silent {
            let subject = puller.next_subject();
            Ended::Fault(format!(
                "the server does not answer on {subject}: may this user publish there, and hear its inbox?"
            ))
        } else {
            Ended::Again
        }
    }

    /// An ordered route's next worker need not wait until this one is missed, but until nothing is in hand here.
    async fn make_way(&self) {
        let (Some(intake), Some(_)) = (&self.intake, &self.pin) else { return };
        if tokio::time::timeout(limits::DRAIN, intake.emptied()).await.is_err() {
            return;
        }
        let subject = format!("CONSUMER.UNPIN.{}.{}", self.options.stream, intake.consumer);
        let unpinned: Result<IgnoredAny, _> = self.context.request(subject, &json!({ "group": ORDERED })).await;
        if let Err(fault) = unpinned {
            tracing::debug!(route = %self.name, %fault, "the next worker has to wait");
        }
    }

    fn raise(&mut self, alarm: Option<String>) {
        if self.alarm == alarm {
            return;
        }
        match &alarm {
            Some(why) => tracing::error!(route = %self.name, "the route is not served: {why}"),
            None if self.alarm.is_some() => tracing::info!(route = %self.name, "the route is served again"),
            None => {}
        }
        self.bus.registry.set_route_problem(&self.name, alarm.clone());
        self.alarm = alarm;
    }
}

/// Another worker has an ordered route's turn.
const WRONG_PIN: u16 = 423;

/// Asks for messages and takes them, over one subscription.
struct Puller {
    intake: Arc<Intake>,
    inbox: String,
    /// Counts requests: each has a subject of its own, so that a late word on one is not taken for the next.
    request: u64,
    open: Option<Open>,
    /// When the newest request was made: no message that arrives has been on its way for longer.
    asked: Instant,
    heard: Instant,
    /// Since when there is no room for a request.
    short_since: Option<Instant>,
    /// The last request brought nothing, so the next one reserves as little as it can.
    idle: bool,
    /// Bytes of a message, more or less.
    typical: usize,
    /// The consumer's own count of its deliveries; where it goes back, the consumer is another one.
    counted: u64,
    /// A message waits that is larger than a request allows for.
    oversize: bool,
    /// By which the server knows the one worker that an ordered route has at a time.
    pin: Option<String>,
}

/// Why a route takes no messages now.
enum Obstacle {
    Fault(String),
    /// Its model is loaded when something is there for it.
    Cold,
}

/// A request that the server still has.
struct Open {
    left: usize,
    reserve: Reserve,
}

impl Puller {
    fn new(intake: Arc<Intake>, inbox: String, pin: Option<String>) -> Self {
        let now = Instant::now();
        Self {
            intake,
            inbox,
            request: 0,
            open: None,
            asked: now,
            heard: now,
            short_since: None,
            idle: false,
            typical: limits::PULL_LEAST,
            counted: 0,
            oversize: false,
            pin,
        }
    }

    /// Why it would be wrong to take messages now.
    fn obstacle(&self) -> Option<Obstacle> {
        if let Some(why) = self.intake.trouble() {
            return Some(Obstacle::Fault(why));
        }
        match self.intake.bus.registry.find(self.intake.route.model.as_ref()) {
            Found::Active(_) => None,
            Found::Refused(refusal) => Some(Obstacle::Fault(refusal.to_string())),
            Found::Cold(model) => {
                // What was delivered and never confirmed comes again.
                if self.intake.metrics.pending.get() + self.intake.metrics.unacked.get() > 0 {
                    self.intake.bus.registry.asked.put(model, ());
                }
                Some(Obstacle::Cold)
            }
        }
    }

    /// Other routes have had all the room for so long that they will not give it back by themselves.
    fn shortage(&self) -> Option<String> {
        let since = self.short_since.filter(|since| since.elapsed() > limits::PULL_EXPIRES)?;
        Some(format!("other routes have taken all room for {} s: add a worker", since.elapsed().as_secs() / 30 * 30))
    }

    fn next_subject(&self) -> String {
        format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", self.intake.options.stream, self.intake.consumer)
    }

    /// The server gives signs of life while it has a request.
    fn is_silent(&self) -> bool {
        self.open.is_some() && self.heard.elapsed() > limits::PULL_HEARTBEAT * 2 + limits::FEED_TICK
    }

    async fn ask(&mut self) {
        if self.open.is_some() {
            return;
        }
        let most = if self.oversize || self.idle { 1 } else { limits::PULL };
        let batch = self.intake.appetite().min(most);
        if batch == 0 {
            return;
        }
        let bus = &self.intake.bus;
        let least = if self.oversize { limits::PAYLOAD + limits::HEADER_ROOM } else { limits::PULL_LEAST };
        let wanted = (batch * self.typical * 2).clamp(least, limits::PULL_BYTES.max(least));
        let Some(reserve) = bus.room.reserve(batch, least, wanted) else {
            self.short_since.get_or_insert_with(Instant::now);
            return;
        };
        self.short_since = None;
        self.request += 1;
        (self.asked, self.heard) = (Instant::now(), Instant::now());
        let left = reserve.messages();
        let mut question = json!({
            "batch": left,
            "max_bytes": reserve.bytes(),
            "expires": limits::PULL_EXPIRES.as_nanos() as u64,
            "idle_heartbeat": limits::PULL_HEARTBEAT.as_nanos() as u64,
        });
        if self.intake.options.order.is_some() {
            question["group"] = ORDERED.into();
            if let Some(pin) = &self.pin {
                question["id"] = pin.as_str().into();
            }
        }
        let subject = self.next_subject();
        let reply = format!("{}.{}", self.inbox, self.request);
        // A request that is lost is asked again when the server is silent.
        let _ = bus.client.publish_with_reply(subject, reply, question.to_string().into()).await;
        self.open = Some(Open { left, reserve });
    }

    /// A message, or what the server says of the request.
    fn take(&mut self, message: Message) -> Option<Ended> {
        self.heard = Instant::now();
        let Some(status) = message.status else {
            return self.message(message);
        };
        let own = message.subject.rsplit('.').next().and_then(|token| token.parse().ok()) == Some(self.request);
        let words = message.description.as_deref().unwrap_or_default().to_lowercase();
        match status {
            StatusCode::IDLE_HEARTBEAT => {}
            StatusCode::NO_RESPONDERS => return Some(Ended::Fault(self.says("there is no such consumer"))),
            _ if words.contains("consumer deleted") => {
                return Some(Ended::Fault(self.says("the consumer was deleted")));
            }
            _ if words.contains("leadership change") || words.contains("server shutdown") => return Some(Ended::Again),
            _ if !own => {}
            StatusCode::TIMEOUT | StatusCode::NOT_FOUND => (self.open, self.idle) = (None, true),
            _ if words.contains("message size exceeds") && !self.oversize => (self.open, self.oversize) = (None, true),
            _ if words.contains("batch completed") => self.open = None,
            _ if status.as_u16() == WRONG_PIN => (self.open, self.pin) = (None, None),
            _ => return Some(Ended::Fault(self.says(&format!("{status} {words}")))),
        }
        None
    }

    fn says(&self, what: &str) -> String {
        let (consumer, stream) = (names::consumer(&self.intake.name), &self.intake.options.stream);
        format!("the server says of the consumer {consumer} of the stream {stream}: {what}")
    }

    fn message(&mut self, message: Message) -> Option<Ended> {
        let Some((ack, stored)) = message.reply.clone().and_then(|ack| Some((ack.clone(), Stored::read(&ack)?))) else {
            tracing::warn!(subject = %message.subject, "a message that is not from a stream is left aside");
            return None;
        };
        if stored.counted <= self.counted {
            // It was made again meanwhile. This message comes again, and then its stream is known for what it is.
            self.intake.retire();
            return Some(Ended::Again);
        }
        self.counted = stored.counted;
        if let Some(pin) = message.headers.as_ref().and_then(|headers| headers.get("Nats-Pin-Id")) {
            self.pin = Some(pin.to_string());
        }
        (self.oversize, self.idle) = (false, false);
        let len = message.payload.len();
        self.typical = (self.typical * 7 + len + limits::HEADER_ROOM / 8) / 8;
        let room = &self.intake.bus.room;
        let place = match &mut self.open {
            Some(open) => {
                open.left = open.left.saturating_sub(1);
                open.reserve.take(room, len)
            }
            None => room.one(len),
        };
        if self.open.as_ref().is_some_and(|open| open.left == 0) {
            self.open = None;
        }
        failpoint::pass(failpoint::FETCHED, &message.payload);
        match place {
            Some(place) => self.intake.begin(message, (ack, stored), place, self.asked),
            None => {
                // From a request of an earlier connection: the server thought that it was still wanted.
                let client = self.intake.bus.client.clone();
                tokio::spawn(async move { acks::again(&client, ack, limits::RETRY_FIRST).await });
            }
        }
        None
    }
}
