//! The bus's subscriptions: one for direct requests, one for each route, following the routes live.
//!
//! Promises: a route that is taken out finishes what the server has already sent for it. Each route has a
//! queue group of its own, because a server gives a message that matches two subscriptions of one group
//! to only one of them, whatever their subjects.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use inferbus_catalog::{Route, RouteName};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::BusSettings;
use crate::limits;
use crate::nats::connect;
use crate::requests::admission::{Bus, Origin};
use crate::stream::feed::Feed;

/// Serves direct requests and routes until told to stop, and returns when every message that the server
/// had sent has been accepted or refused.
pub async fn run(
    bus: Arc<Bus>,
    settings: BusSettings,
    mut routes: watch::Receiver<BTreeMap<RouteName, Route>>,
    stop: CancellationToken,
) {
    let mut takers = JoinSet::new();
    let mut serving: BTreeMap<RouteName, (Route, CancellationToken)> = BTreeMap::new();
    let direct = Origin::Direct { prefix: settings.prefix.clone() };
    subscribe(&bus, &mut takers, format!("{}.*", settings.prefix), settings.group.clone(), direct, stop.child_token())
        .await;
    let mut taking = false;
    loop {
        let wanted = routes.borrow_and_update().clone();
        let mut ending = Vec::new();
        serving.retain(|name, (route, stop)| {
            let stays = wanted.get(name) == Some(route);
            if !stays {
                ending.push(stop.clone());
            }
            if !wanted.contains_key(name) {
                bus.registry.set_route_problem(name, None);
            }
            stays
        });
        let mut begun = Vec::new();
        for (name, route) in wanted {
            if let Entry::Vacant(place) = serving.entry(name.clone()) {
                let stop = stop.child_token();
                place.insert((route.clone(), stop.clone()));
                if let Some(options) = route.stream() {
                    let feed = Feed::new(bus.clone(), name, route.clone(), options.clone());
                    takers.spawn(feed.run(stop));
                    continue;
                }
                let group = format!("{}.{name}", settings.group);
                let origin = Origin::Route(name.clone(), route.clone());
                subscribe(&bus, &mut takers, route.subject.clone(), group, origin, stop).await;
                begun.push((name, route));
            }
        }
        if !taking || !begun.is_empty() {
            // Whoever reads that it begins may send at once. Without an answer it begins when the server is back.
            connect::round_trip(&bus.client, limits::SUBSCRIBE).await;
        }
        // A changed route ends only now, so that no message falls between its two subscriptions.
        for route in ending {
            route.cancel();
        }
        for (name, route) in begun {
            tracing::info!(route = %name, subject = route.subject, model = %route.model, output = route.output, "route begins");
        }
        if !std::mem::replace(&mut taking, true) {
            bus.registry.mark_taking();
            tracing::info!(subject = %format!("{}.*", settings.prefix), group = settings.group, "worker takes messages");
        }
        tokio::select! {
            () = stop.cancelled() => break,
            changed = routes.changed() => if changed.is_err() { break },
            Some(ended) = takers.join_next() => if let Err(fault) = ended {
                tracing::error!(%fault, "a route stopped unexpectedly: this is a defect of the worker, so start it again");
            }
        }
    }
    stop.cancelled().await;
    let ended = async { while takers.join_next().await.is_some() {} };
    if tokio::time::timeout(limits::DRAIN, ended).await.is_err() {
        tracing::error!(seconds = limits::DRAIN.as_secs(), "what the server had sent was not all taken in time");
    }
}

async fn subscribe(
    bus: &Arc<Bus>,
    takers: &mut JoinSet<()>,
    subject: String,
    group: String,
    origin: Origin,
    stop: CancellationToken,
) {
    match bus.client.queue_subscribe(subject.clone(), group).await {
        Ok(messages) => {
            let bus = bus.clone();
            takers.spawn(async move {
                bus.take(messages, &origin, stop).await;
                if let Origin::Route(name, _) = origin {
                    tracing::info!(route = %name, "route ended");
                }
            });
        }
        Err(fault) => tracing::error!(subject, %fault, "cannot subscribe"),
    }
}
