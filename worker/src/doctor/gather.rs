//! Collects the facts about a deployment through one connection. It only reads; denied facts become errors.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::jetstream::{self, Context};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use inferbus_catalog::{Catalog, ModelSummary};
use serde::Deserialize;
use serde_json::Value;

use super::facts::{ConsumerFacts, Facts, ModelFacts, Observed, RouteFacts, StreamFacts, WorkerFacts};
use super::monitor;
use super::permissions::Permissions;
use crate::limits;
use crate::status::service;

#[derive(Clone, Debug)]
pub struct Options {
    /// The server's monitoring address, `http://host:port`.
    pub monitor: Option<String>,
    pub as_worker: bool,
    pub prefix: String,
    pub timeout: Duration,
}

pub async fn facts(client: &Client, options: Options) -> Facts {
    let mut context = jetstream::new(client.clone());
    context.set_timeout(options.timeout);
    let permissions = permissions(client).await;
    // The server does not answer denied requests: skip them instead of waiting.
    let may = |subject: &str| match &permissions {
        Ok(permissions) if !permissions.may_publish(subject) => {
            Err(format!("this connection lacks the permission to publish on {subject}"))
        }
        _ => Ok(()),
    };
    let streams = match may("$JS.API.STREAM.LIST") {
        Ok(()) => streams(&context).await,
        Err(why) => Err(why),
    };
    let consumers = match &streams {
        Ok(streams) => consumers(&context, streams).await,
        Err(why) => Err(why.clone()),
    };
    let catalog = Catalog::open(client.clone()).await.map_err(|fault| fault.to_string());
    let (models, routes) = match &catalog {
        Ok(catalog) => (models(catalog).await, routes(catalog).await),
        Err(why) => (Err(why.clone()), Err(why.clone())),
    };
    let workers = match may("$SRV.STATS.inferbus") {
        Ok(()) => workers(client, options.timeout).await,
        Err(why) => Err(why),
    };
    Facts {
        server_version: client.server_info().version,
        clock_ahead: clock(client).await,
        permissions,
        as_worker: options.as_worker,
        prefix: options.prefix,
        disk: match &options.monitor {
            Some(address) => monitor::disk(address, options.timeout).await.map_err(|fault| format!("{fault:#}")),
            None => Err("no monitoring address given".into()),
        },
        streams,
        consumers,
        models,
        routes,
        workers,
    }
}

#[derive(Deserialize)]
struct UserInfo {
    data: UserData,
}

#[derive(Deserialize)]
struct UserData {
    /// Absent for a user without limits.
    #[serde(default)]
    permissions: Permissions,
}

async fn permissions(client: &Client) -> Observed<Permissions> {
    let request = async_nats::Request::new().timeout(Some(limits::USER_INFO));
    let answer = client.send_request("$SYS.REQ.USER.INFO", request).await.map_err(|fault| fault.to_string())?;
    let info: UserInfo = serde_json::from_slice(&answer.payload).map_err(|fault| fault.to_string())?;
    Ok(info.data.permissions)
}

/// The lead of this machine's clock, taken at the middle of one request.
async fn clock(client: &Client) -> Observed<f64> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let before = now();
    let answer = client.request("$JS.API.STREAM.INFO.KV_models", "".into()).await.map_err(|fault| fault.to_string())?;
    let ours = f64::midpoint(before, now());
    let info: Value = serde_json::from_slice(&answer.payload).map_err(|fault| fault.to_string())?;
    let missing = || "the server's response lacks its time".to_owned();
    let stamp = async_nats::datetime::parse_rfc3339(info["ts"].as_str().ok_or_else(missing)?).map_err(|_| missing())?;
    let theirs = SystemTime::from(stamp).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    Ok(ours - theirs)
}

async fn streams(context: &Context) -> Observed<Vec<StreamFacts>> {
    let facts = context.streams().map_ok(|info| StreamFacts { messages: info.state.messages, config: info.config });
    facts.take(limits::DOCTOR_OBJECTS).try_collect().await.map_err(|fault| fault.to_string())
}

async fn consumers(context: &Context, streams: &[StreamFacts]) -> Observed<Vec<ConsumerFacts>> {
    let mut found = Vec::new();
    for stream in streams {
        let stream = context.get_stream_no_info(&stream.config.name).await.map_err(|fault| fault.to_string())?;
        let mut consumers = stream.consumers();
        while let Some(info) = consumers.next().await {
            let info = info.map_err(|fault| fault.to_string())?;
            if found.len() >= limits::DOCTOR_OBJECTS {
                return Ok(found);
            }
            found.push(ConsumerFacts {
                stream: info.stream_name,
                name: info.name,
                pending: info.num_pending,
                unacked: info.num_ack_pending as u64,
                waiting: info.num_waiting as u64,
                config: info.config,
            });
        }
    }
    Ok(found)
}

async fn models(catalog: &Catalog) -> Observed<Vec<ModelFacts>> {
    let models = catalog.models().await.map_err(|fault| fault.to_string())?;
    let active = models.into_iter().filter_map(|ModelSummary { name, active, .. }| Some((name, active?.0)));
    let checks = stream::iter(active).map(|(name, pointer)| async move {
        let problem = match pointer {
            Ok(pointer) => catalog.check_loadable(&name, &pointer).await.err().map(|fault| fault.to_string()),
            Err(problems) => Some(format!("the pointer cannot be read: {problems}")),
        };
        ModelFacts { name: name.to_string(), problem }
    });
    Ok(checks.buffered(limits::DOCTOR_READS).collect().await)
}

async fn routes(catalog: &Catalog) -> Observed<Vec<RouteFacts>> {
    let routes = catalog.routes().await.map_err(|fault| fault.to_string())?;
    let facts = routes
        .into_iter()
        .map(|route| RouteFacts { name: route.name, route: route.route.map_err(|problems| problems.to_string()) });
    Ok(facts.collect())
}

async fn workers(client: &Client, timeout: Duration) -> Observed<Vec<WorkerFacts>> {
    let workers = service::survey(client, timeout).await.map_err(|fault| format!("{fault:#}"))?;
    Ok(workers.into_iter().map(|(version, status)| WorkerFacts { version, status }).collect())
}
