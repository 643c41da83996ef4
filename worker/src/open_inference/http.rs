//! The protocol over HTTP, at the admin address: health, models and inference.
//!
//! Guarantees: an HTTP request gets a place or a refusal, and one answer, like a NATS request. Reading of bodies has
//! separate bounds, so slow clients do not occupy places of messages.

use std::sync::{Arc, OnceLock, Weak};

use async_nats::HeaderMap;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{self, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;

use crate::lanes::ticket::{Envelope, Reply, ReplyTo};
use crate::limits;
use crate::models::bundle::Bundle;
use crate::models::registry::Registry;
use crate::nats::headers::{ERROR, ERROR_CODE, RESULT, TIMEOUT};
use crate::observe::metrics::Metrics;
use crate::open_inference::metadata::{Listed, Live, Model, ModelReady, Ready, SERVER};
use crate::requests::admission::{Admission, Arrival};
use crate::status::service::WorkerStatus;
use inferbus_pipeline::Refusal;
use inferbus_pipeline::encoding::{
    BINARY_TYPE, FRAME_TYPE, HEADER_LENGTH, JSON_TYPE, MESSAGE_PACK_TYPE, error_json, media_type,
};

/// The admission of requests, empty until the worker has connected.
#[derive(Default)]
pub struct Door(OnceLock<(Weak<Admission>, CancellationToken)>);

impl Door {
    /// Admits requests until stopped.
    pub fn open(&self, admission: &Arc<Admission>, stop: CancellationToken) {
        // A worker opens it once.
        let _ = self.0.set((Arc::downgrade(admission), stop));
    }

    fn admission(&self) -> Result<Arc<Admission>, Problem> {
        let (admission, stop) = self.0.get().ok_or(Problem::Starting)?;
        if stop.is_cancelled() {
            return Err(Problem::Refused(Refusal::Stopping));
        }
        admission.upgrade().ok_or(Problem::Refused(Refusal::Stopping))
    }
}

pub struct OpenInference {
    pub worker: String,
    pub registry: Arc<Registry>,
    pub metrics: Arc<Metrics>,
    pub door: Arc<Door>,
    /// Whether inference over HTTP is enabled.
    pub infer: bool,
    reading: Semaphore,
    reading_bytes: Semaphore,
}

/// The reason for an answer without a model's result.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the worker is starting: retry")]
    Starting,
    #[error("inference over HTTP is off on this worker (--no-http-infer): use NATS")]
    Off,
    #[error("there is nothing at {path}: send inference requests to `/v2/models/<model>/infer`")]
    NoPath { path: String },
    #[error("{method} is not for {path}")]
    Method { method: String, path: String },
    #[error("version {requested} of model `{model}` is not served: {active} is active")]
    Version { model: String, requested: String, active: String },
    #[error("send a Content-Length")]
    NoLength,
    #[error("the body has {len} bytes, more than this worker's limit of {}", limits::PAYLOAD)]
    TooLarge { len: usize },
    #[error("content encoding `{given}` is not supported: send the body without it")]
    Encoded { given: String },
    #[error("{model} {version} has a pre plugin for raw bytes instead of tensors: send application/octet-stream")]
    TakesBytes { model: String, version: String },
    #[error("the worker is reading its maximum of {} bodies: retry later", limits::HTTP_BODIES)]
    Crowded,
    #[error("the body did not arrive within {} seconds", limits::HTTP_BODY.as_secs())]
    Slow,
    #[error("the body ended before its Content-Length")]
    CutOff,
    #[error("the worker stopped before the answer: retry")]
    Lost,
}

impl Problem {
    fn status(&self) -> u16 {
        match self {
            Self::Refused(refusal) => refusal.verdict().code,
            Self::Starting | Self::Lost => 503,
            Self::Off => 403,
            Self::NoPath { .. } | Self::Version { .. } => 404,
            Self::Method { .. } => 405,
            Self::NoLength => 411,
            Self::TooLarge { .. } => 413,
            Self::Encoded { .. } | Self::TakesBytes { .. } => 415,
            Self::Crowded => 429,
            Self::Slow => 408,
            Self::CutOff => 400,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        error(self.status(), error_json(&self.to_string()))
    }
}

fn error(status: u16, body: Vec<u8>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [(header::CONTENT_TYPE, JSON_TYPE)], body).into_response()
}

fn json(value: &impl Serialize) -> Response {
    // Names and numbers always serialize.
    ([(header::CONTENT_TYPE, JSON_TYPE)], serde_json::to_vec(value).unwrap_or_default()).into_response()
}

type Shared = State<Arc<OpenInference>>;

pub fn router(shared: Arc<OpenInference>) -> Router {
    Router::new()
        .route("/v2", get(async || json(&SERVER)))
        .route("/v2/health/live", get(async || json(&Live { live: true })))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models/{model}", get(metadata))
        .route("/v2/models/{model}/ready", get(model_ready))
        .route("/v2/models/{model}/infer", post(infer))
        .route("/v2/models/{model}/versions/{version}", get(version_metadata))
        .route("/v2/models/{model}/versions/{version}/ready", get(version_ready))
        .route("/v2/models/{model}/versions/{version}/infer", post(version_infer))
        .route("/v2/repository/index", post(index))
        .fallback(async |request: Request| Problem::NoPath { path: request.uri().path().to_owned() })
        .method_not_allowed_fallback(async |request: Request| Problem::Method {
            method: request.method().to_string(),
            path: request.uri().path().to_owned(),
        })
        .with_state(shared)
}

async fn ready(State(shared): Shared) -> Response {
    let WorkerStatus { ready, .. } = WorkerStatus::of(&shared.worker, &shared.registry, &shared.metrics);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, json(&Ready { ready })).into_response()
}

async fn index(State(shared): Shared) -> Response {
    json(&shared.registry.status().into_iter().map(Listed::from).collect::<Vec<_>>())
}

async fn metadata(State(shared): Shared, Path(model): Path<String>) -> Result<Response, Problem> {
    Ok(json(&Model::of(&*shared.model(&model, None).await?)))
}

async fn version_metadata(
    State(shared): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    Ok(json(&Model::of(&*shared.model(&model, Some(&version)).await?)))
}

async fn model_ready(State(shared): Shared, Path(model): Path<String>) -> Result<Response, Problem> {
    shared.registry.takes(&model)?;
    Ok(json(&ModelReady { name: &model, ready: true }))
}

async fn version_ready(
    State(shared): Shared,
    Path((model, version)): Path<(String, String)>,
) -> Result<Response, Problem> {
    shared.model(&model, Some(&version)).await?;
    Ok(json(&ModelReady { name: &model, ready: true }))
}

async fn infer(State(shared): Shared, Path(model): Path<String>, request: Request) -> Result<Response, Problem> {
    shared.infer(&model, None, request).await
}

async fn version_infer(
    State(shared): Shared,
    Path((model, version)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    shared.infer(&model, Some(&version), request).await
}

impl OpenInference {
    pub fn new(worker: String, registry: Arc<Registry>, metrics: Arc<Metrics>, door: Arc<Door>, infer: bool) -> Self {
        let reading = Semaphore::new(limits::HTTP_BODIES);
        let reading_bytes = Semaphore::new(limits::HTTP_BYTES / limits::BYTES_PER_PERMIT);
        Self { worker, registry, metrics, door, infer, reading, reading_bytes }
    }

    async fn model(&self, model: &str, version: Option<&str>) -> Result<Arc<Bundle>, Problem> {
        // The number of requests with a wait for a load is bounded.
        let _place = self.reading.try_acquire().map_err(|_| Problem::Crowded)?;
        let bundle = self.registry.loaded(model).await?;
        let active = bundle.identity.version.to_string();
        match version {
            Some(requested) if requested != active => {
                Err(Problem::Version { model: model.to_owned(), requested: requested.to_owned(), active })
            }
            _ => Ok(bundle),
        }
    }

    async fn infer(&self, model: &str, version: Option<&str>, request: Request) -> Result<Response, Problem> {
        if !self.infer {
            return Err(Problem::Off);
        }
        let headers = {
            // Dropped before the body is read, or a slow client would keep a retired bundle alive.
            let bundle = self.model(model, version).await.inspect_err(|problem| self.count(problem))?;
            headers(&bundle, request.headers())?
        };
        let payload = self.body(request).await?;
        let (caller, answer) = oneshot::channel();
        let envelope = Envelope { reply: ReplyTo::Caller(caller), headers: Some(headers) };
        let arrival = Arrival { model, payload, envelope, urgent: false, output: || None };
        self.door.admission()?.ask(arrival).await;
        answer.await.map(response).map_err(|_| Problem::Lost)
    }

    /// Counts a refusal before admission; admission counts the others.
    fn count(&self, problem: &Problem) {
        if let Problem::Refused(refusal) = problem {
            self.metrics.refusal(refusal.verdict(), &refusal.to_string());
        }
    }

    /// Reads the whole body within the bounds of bytes and time.
    async fn body(&self, request: Request) -> Result<Bytes, Problem> {
        let len = request.headers().get(header::CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
        let len: usize = len.ok_or(Problem::NoLength)?;
        if len > limits::PAYLOAD {
            return Err(Problem::TooLarge { len });
        }
        let permits = u32::try_from(len.div_ceil(limits::BYTES_PER_PERMIT)).unwrap_or(u32::MAX);
        let _place = self.reading.try_acquire().map_err(|_| Problem::Crowded)?;
        let _bytes = self.reading_bytes.try_acquire_many(permits).map_err(|_| Problem::Crowded)?;
        let read = axum::body::to_bytes(request.into_body(), len);
        match tokio::time::timeout(limits::HTTP_BODY, read).await {
            Ok(body) => body.map_err(|_| Problem::CutOff),
            Err(_) => Err(Problem::Slow),
        }
    }
}

/// The headers passed on with the message.
const FORWARDED: [&str; 4] = ["traceparent", "tracestate", HEADER_LENGTH, TIMEOUT];

/// The headers of the message for the lanes.
fn headers(bundle: &Bundle, given: &http::HeaderMap) -> Result<HeaderMap, Problem> {
    let text = |name: &str| given.get(name).and_then(|value| value.to_str().ok());
    if let Some(encoding) = text("Content-Encoding").filter(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(Problem::Encoded { given: encoding.to_owned() });
    }
    let mut headers = HeaderMap::new();
    for name in FORWARDED {
        if let Some(value) = text(name) {
            headers.insert(name, value);
        }
    }
    let content_type = media_type(text("Content-Type").unwrap_or(BINARY_TYPE));
    if bundle.takes_tensors() {
        let content_type = match content_type.as_str() {
            FRAME_TYPE | MESSAGE_PACK_TYPE => content_type.as_str(),
            // Clients send JSON without a content type, or with their library's default.
            BINARY_TYPE | "application/x-www-form-urlencoded" => JSON_TYPE,
            other => other,
        };
        headers.insert("Content-Type", content_type);
        return Ok(headers);
    }
    if text(HEADER_LENGTH).is_some() || content_type == JSON_TYPE {
        let identity = &bundle.identity;
        let (model, version) = (identity.model.to_string(), identity.version.to_string());
        return Err(Problem::TakesBytes { model, version });
    }
    headers.insert("Content-Type", content_type);
    Ok(headers)
}

/// The HTTP response of a reply.
fn response(Reply { headers, payload }: Reply) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let mut response = match text(ERROR_CODE) {
        Some(code) => {
            let message = text(ERROR).unwrap_or_default();
            let packed = text("Content-Type").is_some_and(|given| given == MESSAGE_PACK_TYPE);
            let body = if packed { payload.to_vec() } else { error_json(&message) };
            error(code.parse().unwrap_or(500), body)
        }
        None if text(RESULT).is_some() => StatusCode::NO_CONTENT.into_response(),
        None => Response::new(Body::from(payload)),
    };
    for (name, values) in headers.iter() {
        let name: &str = name.as_ref();
        if name == ERROR_CODE || name == ERROR {
            continue;
        }
        let value = values.first().and_then(|value| HeaderValue::from_str(value.as_str()).ok());
        if let (Ok(name), Some(value)) = (HeaderName::try_from(name), value) {
            response.headers_mut().insert(name, value);
        }
    }
    response.headers_mut().entry(header::CONTENT_TYPE).or_insert(HeaderValue::from_static(BINARY_TYPE));
    response
}
