//! The protocol over HTTP, at the admin address: health, models, and inference by way of the bus's own places and lanes.
//!
//! Promises: a request over HTTP is one more request to the bus: it gets a place or a refusal, and one answer. Bodies
//! that are being read have a bound of their own, so that slow clients take no place from messages.

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

/// The way to the bus, from when there is one.
#[derive(Default)]
pub struct Door(OnceLock<(Weak<Admission>, CancellationToken)>);

impl Door {
    /// Lets requests in until told to stop.
    pub fn open(&self, admission: &Arc<Admission>, stop: CancellationToken) {
        // A worker has one bus in its life.
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
    /// Whether models may be asked over HTTP.
    pub infer: bool,
    reading: Semaphore,
    reading_bytes: Semaphore,
}

/// Why a request has no answer of a model's.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the worker is starting: ask again")]
    Starting,
    #[error("inference over HTTP is off on this worker (--no-http-infer): ask over NATS")]
    Off,
    #[error("there is nothing at {path}: `/v2/models/<model>/infer` is where models are asked")]
    NoPath { path: String },
    #[error("{method} is not for {path}")]
    Method { method: String, path: String },
    #[error("version {asked} of model `{model}` does not serve here; {active} is active")]
    Version { model: String, asked: String, active: String },
    #[error("send a Content-Length")]
    NoLength,
    #[error("the body has {len} bytes, more than the {} that this worker takes", limits::PAYLOAD)]
    TooLarge { len: usize },
    #[error("content encoding `{given}` is not undone here: send the body as it is")]
    Encoded { given: String },
    #[error(
        "{model} {version} has a pre plugin, which takes raw bytes and no tensors: send them as application/octet-stream"
    )]
    TakesBytes { model: String, version: String },
    #[error("as many bodies are being read as the worker takes ({} at once): send again later", limits::HTTP_BODIES)]
    Crowded,
    #[error("the body did not come within {} seconds", limits::HTTP_BODY.as_secs())]
    Slow,
    #[error("the body ended before its Content-Length")]
    CutOff,
    #[error("the worker ended before the answer came: send again")]
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
    // Names and numbers can always be written.
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
        // Whoever waits for a model to be loaded has one of a bounded number of places.
        let _place = self.reading.try_acquire().map_err(|_| Problem::Crowded)?;
        let bundle = self.registry.loaded(model).await?;
        let active = bundle.identity.version.to_string();
        match version {
            Some(asked) if asked != active => {
                Err(Problem::Version { model: model.to_owned(), asked: asked.to_owned(), active })
            }
            _ => Ok(bundle),
        }
    }

    async fn infer(&self, model: &str, version: Option<&str>, request: Request) -> Result<Response, Problem> {
        if !self.infer {
            return Err(Problem::Off);
        }
        let headers = {
            // Not kept while the body comes, or a retired bundle would live as long as a slow client.
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

    /// The bus counts what it refuses, and never sees what is refused before.
    fn count(&self, problem: &Problem) {
        if let Problem::Refused(refusal) = problem {
            self.metrics.refusal(refusal.verdict(), &refusal.to_string());
        }
    }

    /// The whole body, if there is room for what it says it is, in time.
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

/// What of a request's headers a message on the bus has, too.
const FORWARDED: [&str; 4] = ["traceparent", "tracestate", HEADER_LENGTH, TIMEOUT];

/// A message's headers, as the bus reads them.
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
            // Clients say nothing of their JSON, or what their library says for them.
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

/// A reply over NATS as it is over HTTP.
fn response(Reply { headers, payload }: Reply) -> Response {
    let text = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
    let mut response = match text(ERROR_CODE) {
        Some(code) => {
            let said = text(ERROR).unwrap_or_default();
            let packed = text("Content-Type").is_some_and(|written| written == MESSAGE_PACK_TYPE);
            let body = if packed { payload.to_vec() } else { error_json(&said) };
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
