//! The worker's connection over its life: events, the wait for the catalog, the last flush.

use std::sync::Arc;

use async_nats::{Client, Event};
use inferbus_catalog::Catalog;
use tokio_util::sync::CancellationToken;

use crate::limits;
use crate::nats::connect;
use crate::observe::metrics::Metrics;

pub(super) fn events(metrics: Arc<Metrics>) -> impl Fn(Event) + Send + Sync + Clone + 'static {
    move |event| match event {
        Event::Connected => {
            // The first connection is no reconnect.
            if metrics.connects.inc() > 0 {
                tracing::info!("reconnected to NATS");
            }
            metrics.connected.set(1);
        }
        Event::Disconnected => {
            metrics.connected.set(0);
            tracing::warn!("connection to NATS lost; reconnecting");
        }
        Event::Closed => {
            metrics.connected.set(0);
            tracing::info!("connection to NATS closed");
        }
        Event::SlowConsumer(_) => {
            metrics.slow_consumers.inc();
            tracing::error!("messages were dropped: they arrived faster than the worker accepts them; add workers");
        }
        Event::ServerError(fault) => tracing::error!("NATS server error: {fault}"),
        Event::ClientError(fault) => tracing::warn!("NATS client error: {fault}"),
        Event::LameDuckMode | Event::Draining => tracing::info!("{event}"),
    }
}

/// Waits for the server and the catalog's buckets; `None` if stopped before.
pub(super) async fn open_catalog(client: &Client, stop: &CancellationToken) -> Option<Catalog> {
    let mut pause = limits::RETRY_FIRST;
    loop {
        let fault = tokio::select! {
            opened = Catalog::open(client.clone()) => match opened {
                Ok(catalog) => return Some(catalog),
                Err(fault) => fault,
            },
            () = stop.cancelled() => return None,
        };
        tracing::warn!("waiting for the catalog: {fault}");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(limits::RETRY_LONGEST),
            () = stop.cancelled() => return None,
        }
    }
}

/// After the round trip the server has every message published before.
pub(super) async fn flush(client: &Client) {
    if connect::round_trip(client, limits::FAREWELL).await {
        tracing::info!("shutdown complete: all messages flushed");
    } else {
        tracing::warn!("shutdown complete, but the server did not confirm the last messages");
    }
}
