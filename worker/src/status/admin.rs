//! Health, readiness, status and metrics over HTTP, for orchestrators and Prometheus. `open_inference/http.rs` adds the
//! inference protocol.
//!
//! Guarantees: the endpoints are read-only, and this file is not on the message path.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::models::registry::Registry;
use crate::observe::metrics::Metrics;
use crate::status::service::WorkerStatus;

pub struct Admin {
    pub worker: String,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
}

/// Listens at once, so a port in use is a clear error at the start.
pub async fn listen(address: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("the admin address {address} cannot be used: choose another with --admin or INFERBUS_ADMIN")
    })?;
    let address = listener.local_addr().context("cannot read the admin listener's address")?;
    Ok((listener, address))
}

pub async fn run(
    listener: TcpListener,
    admin: Admin,
    open_inference: Router,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(metrics))
        .with_state(Arc::new(admin))
        .merge(open_inference);
    axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await }).await
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let status = admin.status();
    if status.ready {
        return "ready\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", status.unready.join("; "))).into_response()
}

async fn status(State(admin): State<Arc<Admin>>) -> Response {
    match serde_json::to_vec(&admin.status()) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()).into_response(),
    }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    match admin.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(fault) => (StatusCode::INTERNAL_SERVER_ERROR, fault.to_string()).into_response(),
    }
}

impl Admin {
    fn status(&self) -> WorkerStatus {
        WorkerStatus::of(&self.worker, &self.registry, &self.metrics)
    }
}
