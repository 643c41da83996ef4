//! Finds a route's streams and consumer on the server, and creates missing ones.
//!
//! Guarantees: existing objects are not changed. A lost object with results is a fault until `inferbus route repair`.
//! Its silent re-creation would lose messages or process them twice.

use async_nats::jetstream::consumer::{self, DeliverPolicy, IntoConsumerConfig as _};
use async_nats::jetstream::context::RequestError;
use async_nats::jetstream::response::Response;
use async_nats::jetstream::stream;
use async_nats::jetstream::{Context, ErrorCode};
use inferbus_catalog::{Route, RouteName, StreamOptions};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fault::SetupFault;
use super::objects::{self, Conflict};
use super::{names, stored_results};

/// A route's existing objects on the server.
#[derive(Clone, Debug)]
pub struct Found {
    pub input: Option<stream::Info>,
    pub consumer: Option<consumer::Info>,
    pub results: Option<stream::Info>,
    pub dead_letters: Option<stream::Info>,
    /// The newest stored result of this route: its stream's identity and its message's sequence.
    pub newest: Option<(String, u64)>,
}

/// The treatment of missing objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Create new objects; a lost object is a fault.
    Create,
    /// Create lost objects too, with a new consumer from this position.
    Repair(DeliverPolicy),
}

/// A route with all its objects.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The stream by name and creation time.
    pub identity: String,
    pub found: Found,
}

/// Checks existing objects and creates missing ones.
pub async fn prepare(
    context: &Context,
    name: &RouteName,
    route: &Route,
    options: &StreamOptions,
    missing: Missing,
) -> Result<Prepared, SetupFault> {
    let mut found = find(context, name, route, options).await?;
    check(&found, name, route, options)?;
    if missing == Missing::Create {
        refuse_losses(&found, name, route, options)?;
    }
    let input = match found.input.take() {
        Some(input) => input,
        None => create_stream(context, objects::input(route, options)).await?,
    };
    let replicas = input.config.num_replicas;
    if found.dead_letters.is_none() {
        found.dead_letters = Some(create_stream(context, objects::dead_letters(replicas)).await?);
    }
    // The consumer last: it starts deliveries, and they need all other objects.
    if found.results.is_none() {
        found.results = Some(create_stream(context, objects::results(name, route, replicas)).await?);
    }
    if found.consumer.is_none() {
        let start = match missing {
            Missing::Create => objects::start(options),
            Missing::Repair(start) => start,
        };
        let wanted = objects::consumer(name, route, options, start).into_consumer_config();
        found.consumer = Some(create_consumer(context, options.stream.as_str(), wanted).await?);
    }
    let identity = identity(&input);
    found.input = Some(input);
    Ok(Prepared { identity, found })
}

pub async fn find(
    context: &Context,
    name: &RouteName,
    route: &Route,
    options: &StreamOptions,
) -> Result<Found, SetupFault> {
    let (stream, consumer) = (options.stream.as_str(), names::consumer(name));
    let input = stream_info(context, stream).await?;
    let consumer = match input {
        Some(_) => consumer_info(context, stream, &consumer).await?,
        None => None,
    };
    let results = stream_info(context, &names::results(name, route)).await?;
    let dead_letters = stream_info(context, names::DEAD_LETTERS).await?;
    let newest = match &results {
        Some(results) => stored_results::newest(context, &results.config.name, name, route).await?,
        None => None,
    };
    Ok(Found { input, consumer, results, dead_letters, newest })
}

fn check(found: &Found, name: &RouteName, route: &Route, options: &StreamOptions) -> Result<(), Conflict> {
    if let Some(input) = &found.input {
        objects::check_input(&input.config, route)?;
    }
    if let Some(consumer) = &found.consumer {
        let wanted = objects::consumer(name, route, options, DeliverPolicy::All).into_consumer_config();
        objects::check_consumer(&consumer.config, &wanted)?;
    }
    if let Some(results) = &found.results {
        objects::check_results(&results.config, &objects::results(name, route, 1))?;
    }
    match &found.dead_letters {
        Some(dead_letters) => objects::keeps(&dead_letters.config, &objects::dead_letters(1)),
        None => Ok(()),
    }
}

fn refuse_losses(found: &Found, name: &RouteName, route: &Route, options: &StreamOptions) -> Result<(), SetupFault> {
    let stream = options.stream.to_string();
    match found {
        Found { input: None, newest: Some(_), .. } => Err(SetupFault::StreamLost { stream, route: name.clone() }),
        Found { input: Some(input), consumer: None, newest: Some((stream_identity, newest)), .. }
            if *stream_identity == identity(input) =>
        {
            let (consumer, newest) = (names::consumer(name), *newest);
            Err(SetupFault::ConsumerLost { consumer, stream, route: name.clone(), newest })
        }
        Found { consumer: Some(consumer), results: None, .. } if consumer.delivered.stream_sequence > 0 => {
            Err(SetupFault::ResultsLost { results: names::results(name, route), route: name.clone() })
        }
        _ => Ok(()),
    }
}

fn identity(input: &stream::Info) -> String {
    names::stream_identity(&input.config.name, input.created.into())
}

pub async fn stream_info(context: &Context, name: &str) -> Result<Option<stream::Info>, SetupFault> {
    let doing = format!("look at the stream {name}");
    ask(context, &doing, format!("STREAM.INFO.{name}"), &json!({}), ErrorCode::STREAM_NOT_FOUND).await
}

pub async fn consumer_info(context: &Context, stream: &str, name: &str) -> Result<Option<consumer::Info>, SetupFault> {
    let doing = format!("look at the consumer {name} of the stream {stream}");
    ask(context, &doing, format!("CONSUMER.INFO.{stream}.{name}"), &json!({}), ErrorCode::CONSUMER_NOT_FOUND).await
}

async fn create_stream(context: &Context, config: stream::Config) -> Result<stream::Info, SetupFault> {
    let doing = format!("create the stream {}", config.name);
    tracing::info!(stream = config.name, subjects = ?config.subjects, "creating a stream");
    demand(context, doing, format!("STREAM.CREATE.{}", config.name), &config).await
}

async fn create_consumer(
    context: &Context,
    stream: &str,
    config: consumer::Config,
) -> Result<consumer::Info, SetupFault> {
    let name = config.durable_name.clone().unwrap_or_default();
    let doing = format!("create the consumer {name} of the stream {stream}");
    tracing::info!(stream, consumer = name, "creating a consumer");
    let subject = format!("CONSUMER.CREATE.{stream}.{name}.{}", config.filter_subject);
    demand(context, doing, subject, &json!({ "stream_name": stream, "config": config, "action": "create" })).await
}

async fn demand<T: DeserializeOwned>(
    context: &Context,
    doing: String,
    subject: String,
    body: &impl serde::Serialize,
) -> Result<T, SetupFault> {
    match context.request(subject, body).await {
        Ok(Response::Ok(answer)) => Ok(answer),
        Ok(Response::Err { error }) => Err(SetupFault::Refused { doing, reason: error.to_string() }),
        Err(error) => Err(unreachable(doing, &error)),
    }
}

/// The server's answer; `None` if the object does not exist.
async fn ask<T: DeserializeOwned>(
    context: &Context,
    doing: &str,
    subject: String,
    body: &impl serde::Serialize,
    absent: ErrorCode,
) -> Result<Option<T>, SetupFault> {
    match context.request(subject, body).await {
        Ok(Response::Ok(answer)) => Ok(Some(answer)),
        Ok(Response::Err { error }) if error.error_code() == absent => Ok(None),
        Ok(Response::Err { error }) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => Ok(None),
        Ok(Response::Err { error }) => Err(SetupFault::Refused { doing: doing.to_owned(), reason: error.to_string() }),
        Err(error) => Err(unreachable(doing.to_owned(), &error)),
    }
}

fn unreachable(doing: String, error: &RequestError) -> SetupFault {
    SetupFault::Unreachable { doing, reason: error.to_string() }
}
