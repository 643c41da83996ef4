//! What is known of a deployment: plain data, so that it can be judged without a server.

use async_nats::jetstream::{consumer, stream};
use inferbus_catalog::{Route, RouteName};

use super::permissions::Permissions;
use crate::status::service::WorkerStatus;

/// Something, or why it could not be seen.
pub type Seen<T> = Result<T, String>;

#[derive(Clone, Debug)]
pub struct Facts {
    pub server_version: String,
    /// How far our clock is ahead of the server's, in seconds.
    pub clock_ahead: Seen<f64>,
    pub permissions: Seen<Permissions>,
    /// Whether the connection is to be judged as one of a worker.
    pub as_worker: bool,
    /// The prefix of request subjects.
    pub prefix: String,
    pub disk: Seen<Disk>,
    pub streams: Seen<Vec<StreamFacts>>,
    pub consumers: Seen<Vec<ConsumerFacts>>,
    pub models: Seen<Vec<ModelFacts>>,
    pub routes: Seen<Vec<RouteFacts>>,
    pub workers: Seen<Vec<WorkerFacts>>,
}

/// How a server writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Before it confirms.
    pub sync_always: bool,
    pub sync_seconds: u64,
}

#[derive(Clone, Debug)]
pub struct StreamFacts {
    pub config: stream::Config,
    pub messages: u64,
}

#[derive(Clone, Debug)]
pub struct ConsumerFacts {
    pub stream: String,
    pub name: String,
    pub config: consumer::Config,
    /// Messages that were never delivered.
    pub pending: u64,
    /// Messages that were delivered and not confirmed.
    pub unacked: u64,
    /// Requests for messages that the server has now.
    pub waiting: u64,
}

/// A model with an active version.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    pub name: String,
    /// Why a worker that starts now could not load it.
    pub problem: Option<String>,
}

#[derive(Clone, Debug)]
pub struct RouteFacts {
    pub name: RouteName,
    pub route: Result<Route, String>,
}

#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// Of Inferbus.
    pub version: String,
    pub status: WorkerStatus,
}

impl Facts {
    /// The routes of mode `stream` that can be read.
    pub fn stream_routes(&self) -> impl Iterator<Item = (&RouteName, &Route)> {
        self.valid_routes().filter(|(_, route)| route.stream().is_some())
    }

    pub fn valid_routes(&self) -> impl Iterator<Item = (&RouteName, &Route)> {
        let routes = self.routes.iter().flatten();
        routes.filter_map(|facts| facts.route.as_ref().ok().map(|route| (&facts.name, route)))
    }

    pub fn stream(&self, name: &str) -> Option<&StreamFacts> {
        self.streams.iter().flatten().find(|stream| stream.config.name == name)
    }
}
