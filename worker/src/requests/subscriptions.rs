//! The subscriptions of a worker: one for direct requests and one for each route, updated live.
//!
//! Guarantees: a removed route finishes the messages already sent by the server. Each route has a separate queue group,
//! because a server delivers each message once per group, also with two matching subscriptions.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use inferbus_catalog::{Route, RouteName};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::admission::{Admission, Origin};
use crate::config::BusSettings;
use crate::limits;
use crate::models::registry::Registry;
use crate::nats::connect;
use crate::stream::consumer::RouteConsumer;
use crate::stream::context::StreamContext;

type Routes = BTreeMap<RouteName, Route>;

/// All sources of messages.
struct Subscriptions {
    admission: Arc<Admission>,
    streams: Arc<StreamContext>,
    settings: BusSettings,
    serving: BTreeMap<RouteName, (Route, CancellationToken)>,
    tasks: JoinSet<()>,
}

/// The difference between the served routes and the catalog's.
struct Change {
    /// Stopped only after the new routes have started, so no message is lost between two subscriptions.
    ended: Vec<CancellationToken>,
    started: Vec<(RouteName, Route, CancellationToken)>,
}

/// Serves direct requests and routes until stopped. Returns after all messages sent by the server were accepted or
/// rejected.
pub async fn run(
    admission: Arc<Admission>,
    streams: Arc<StreamContext>,
    settings: BusSettings,
    mut routes: watch::Receiver<Routes>,
    stop: CancellationToken,
) {
    let (serving, tasks) = (BTreeMap::new(), JoinSet::new());
    let mut subscriptions = Subscriptions { admission, streams, settings, serving, tasks };
    subscriptions.serve_requests(stop.child_token()).await;
    let mut ready = false;
    loop {
        let wanted = routes.borrow_and_update().clone();
        let change = subscriptions.change(wanted, &stop);
        subscriptions.apply(change, !std::mem::replace(&mut ready, true)).await;
        tokio::select! {
            () = stop.cancelled() => break,
            changed = routes.changed() => if changed.is_err() { break },
            Some(ended) = subscriptions.tasks.join_next() => if let Err(fault) = ended {
                tracing::error!(%fault, "a route stopped unexpectedly: this is a defect; restart the worker");
            }
        }
    }
    stop.cancelled().await;
    let mut tasks = subscriptions.tasks;
    let ended = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::DRAIN, ended).await.is_err() {
        tracing::error!(seconds = limits::DRAIN.as_secs(), "not all messages sent by the server were accepted in time");
    }
}

impl Subscriptions {
    fn registry(&self) -> &Registry {
        &self.admission.dispatch.registry
    }

    async fn serve_requests(&mut self, stop: CancellationToken) {
        let BusSettings { prefix, group, .. } = self.settings.clone();
        let origin = Origin::Direct { prefix: prefix.clone() };
        self.subscribe(format!("{prefix}.*"), group, origin, stop).await;
    }

    /// Updates the table of served routes.
    fn change(&mut self, wanted: Routes, stop: &CancellationToken) -> Change {
        let mut ended = Vec::new();
        let registry = &self.admission.dispatch.registry;
        self.serving.retain(|name, (route, stop)| {
            let stays = wanted.get(name) == Some(route);
            if !stays {
                ended.push(stop.clone());
            }
            if !wanted.contains_key(name) {
                registry.set_route_problem(name, None);
            }
            stays
        });
        let mut started = Vec::new();
        for (name, route) in wanted {
            if let Entry::Vacant(place) = self.serving.entry(name.clone()) {
                let stop = stop.child_token();
                place.insert((route.clone(), stop.clone()));
                started.push((name, route, stop));
            }
        }
        Change { ended, started }
    }

    async fn apply(&mut self, Change { ended, started }: Change, is_first: bool) {
        let mut subscribed = Vec::new();
        for (name, route, stop) in started {
            if let Some(options) = route.stream() {
                let consumer = RouteConsumer::new(self.streams.clone(), name, route.clone(), options.clone());
                self.tasks.spawn(consumer.run(stop));
                continue;
            }
            let group = format!("{}.{name}", self.settings.group);
            let origin = Origin::Route(name.clone(), route.clone());
            self.subscribe(route.subject.clone(), group, origin, stop).await;
            subscribed.push((name, route));
        }
        if is_first || !subscribed.is_empty() {
            // A reader of the log line below may send at once. Without an answer the route starts after the reconnect.
            connect::round_trip(&self.admission.client, limits::SUBSCRIBE).await;
        }
        for route in ended {
            route.cancel();
        }
        for (name, Route { subject, model, output, .. }) in subscribed {
            tracing::info!(route = %name, subject, %model, output, "route started");
        }
        if is_first {
            self.registry().mark_taking();
            let BusSettings { prefix, group, .. } = &self.settings;
            tracing::info!(subject = %format!("{prefix}.*"), group, "worker accepts requests");
        }
    }

    async fn subscribe(&mut self, subject: String, group: String, origin: Origin, stop: CancellationToken) {
        match self.admission.client.queue_subscribe(subject.clone(), group).await {
            Ok(messages) => {
                let admission = self.admission.clone();
                self.tasks.spawn(async move {
                    admission.take(messages, &origin, stop).await;
                    if let Origin::Route(name, _) = origin {
                        tracing::info!(route = %name, "route ended");
                    }
                });
            }
            Err(fault) => tracing::error!(subject, %fault, "subscribing failed"),
        }
    }
}
