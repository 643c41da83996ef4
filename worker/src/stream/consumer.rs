//! The consumer of one stream route: prepares the route's streams and consumer, then pulls messages.
//!
//! Guarantees: no pull request is sent while the model is missing or results cannot be stored. A fault is logged and
//! shown by the worker's readiness. It is retried with growing pauses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use async_nats::datetime::DateTime;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt as _;
use inferbus_catalog::{Route, RouteName, StreamOptions};
use serde::de::IgnoredAny;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::context::StreamContext;
use super::in_flight::InFlight;
use super::objects::ORDERED;
use super::puller::{Ended, Obstacle, Puller};
use super::settle;
use super::setup::{self, Missing, Prepared};
use crate::limits;
use crate::nats::connect;

pub struct RouteConsumer {
    cx: Arc<StreamContext>,
    context: Context,
    name: RouteName,
    route: Route,
    options: StreamOptions,
    in_flight: Option<Arc<InFlight>>,
    /// The fault reported by readiness.
    alarm: Option<String>,
    started: bool,
    /// The server's id of this worker while it has an ordered route's turn.
    pin: Option<String>,
    /// The server did not answer in the last round.
    was_silent: bool,
}

impl RouteConsumer {
    pub fn new(cx: Arc<StreamContext>, name: RouteName, route: Route, options: StreamOptions) -> Self {
        let mut context = jetstream::new(cx.client.clone());
        context.set_timeout(limits::CONFIRM);
        Self {
            cx,
            context,
            name,
            route,
            options,
            in_flight: None,
            alarm: None,
            started: false,
            pin: None,
            was_silent: false,
        }
    }

    /// Serves the route until it is stopped. Other tasks finish the messages in flight.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = limits::RETRY_FIRST;
        // The route's earlier definition may have left an alarm.
        self.cx.dispatch.registry.set_route_problem(&self.name, None);
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
        self.unpin().await;
        tracing::info!(route = %self.name, "route ended");
    }

    async fn serve(&mut self, stop: &CancellationToken) -> Ended {
        let preparing = setup::prepare(&self.context, &self.name, &self.route, &self.options, Missing::Create);
        let prepared = tokio::select! {
            prepared = preparing => prepared,
            () = stop.cancelled() => return Ended::Stopped,
        };
        let in_flight = match prepared {
            Ok(prepared) => self.in_flight(prepared),
            Err(fault) => return Ended::Fault(fault.to_string()),
        };
        let inbox = self.cx.client.new_inbox();
        let messages = match self.cx.client.subscribe(format!("{inbox}.*")).await {
            Ok(messages) => messages,
            Err(fault) => return Ended::Fault(format!("cannot subscribe to the inbox: {fault}")),
        };
        if !std::mem::replace(&mut self.started, true) {
            let Route { subject, model, output, .. } = &self.route;
            tracing::info!(route = %self.name, stream = %self.options.stream, subject, %model, output, "route started");
        }
        let puller = Puller::new(in_flight, inbox, self.pin.take());
        self.pull(puller, messages, stop).await
    }

    /// Messages in flight survive a lost connection, but not a new stream or consumer of the same name.
    fn in_flight(&mut self, prepared: Prepared) -> Arc<InFlight> {
        let Prepared { identity, found } = prepared;
        let window = found.results.map_or(Duration::ZERO, |results| results.config.duplicate_window);
        let created = found.consumer.map_or(DateTime::UNIX_EPOCH, |consumer| consumer.created);
        if let Some(in_flight) = &self.in_flight {
            if in_flight.is_same(&identity, created) {
                return in_flight.clone();
            }
            in_flight.retire();
        }
        let route = (self.name.clone(), self.route.clone(), self.options.clone());
        let in_flight =
            InFlight::new(self.cx.clone(), self.context.clone(), route, identity, (window, created), settle::ticket);
        self.in_flight.insert(in_flight).clone()
    }

    async fn pull(&mut self, mut puller: Puller, mut messages: Subscriber, stop: &CancellationToken) -> Ended {
        let connection = self.cx.metrics.connects.get();
        let mut tick = tokio::time::interval(limits::FEED_TICK);
        let mut check = true;
        let ended = loop {
            // Messages of an open request do not change the decision.
            if std::mem::take(&mut check) || puller.open.is_none() {
                let obstacle = puller.obstacle();
                if obstacle.is_none() {
                    puller.request().await;
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
                () = puller.in_flight.changed.notified() => {}
                () = puller.in_flight.cx.credits.freed(), if puller.short_since.is_some() => {}
                _ = tick.tick() => {
                    if self.cx.metrics.connects.get() != connection || puller.in_flight.is_retired() {
                        break Ended::Again;
                    }
                    if puller.is_silent() {
                        break self.silence(&puller);
                    }
                    check = true;
                }
                () = stop.cancelled() => break Ended::Stopped,
            }
        };
        // Process the messages already sent by the server.
        for message in connect::unsubscribe(&self.cx.client, messages).await {
            puller.take(message);
        }
        self.was_silent = puller.is_silent();
        self.pin = puller.pin;
        ended
    }

    /// One silent round can be the network's fault; the second in a row is a fault of the route.
    fn silence(&self, puller: &Puller) -> Ended {
        if self.was_silent {
            let subject = puller.next_subject();
            Ended::Fault(format!(
                "the server does not answer on {subject}: check the user's permissions for it and for the inbox"
            ))
        } else {
            Ended::Again
        }
    }

    /// Passes an ordered route's turn on after the messages in flight, before the server's pin times out.
    async fn unpin(&self) {
        let (Some(in_flight), Some(_)) = (&self.in_flight, &self.pin) else { return };
        if tokio::time::timeout(limits::DRAIN, in_flight.drained()).await.is_err() {
            return;
        }
        let subject = format!("CONSUMER.UNPIN.{}.{}", self.options.stream, in_flight.consumer);
        let unpinned: Result<IgnoredAny, _> = self.context.request(subject, &json!({ "group": ORDERED })).await;
        if let Err(fault) = unpinned {
            tracing::debug!(route = %self.name, %fault, "cannot unpin: the next worker waits for the pin's timeout");
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
        self.cx.dispatch.registry.set_route_problem(&self.name, alarm.clone());
        self.alarm = alarm;
    }
}
