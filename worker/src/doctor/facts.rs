//! The facts about a deployment, as plain data for the checks.

use async_nats::jetstream::{consumer, stream};
use inferbus_catalog::{Route, RouteName};

use super::permissions::Permissions;
use crate::status::service::WorkerStatus;

/// A value, or the reason for its absence.
pub type Observed<T> = Result<T, String>;

#[derive(Clone, Debug)]
pub struct Facts {
    pub server_version: String,
    /// The lead of this machine's clock over the server's, in seconds.
    pub clock_ahead: Observed<f64>,
    pub permissions: Observed<Permissions>,
    /// Whether to check the permissions of a worker.
    pub as_worker: bool,
    /// The prefix of the request subjects.
    pub prefix: String,
    pub disk: Observed<Disk>,
    pub streams: Observed<Vec<StreamFacts>>,
    pub consumers: Observed<Vec<ConsumerFacts>>,
    pub models: Observed<Vec<ModelFacts>>,
    pub routes: Observed<Vec<RouteFacts>>,
    pub workers: Observed<Vec<WorkerFacts>>,
}

/// The disk settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Whether it syncs before it confirms.
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
    /// Messages not yet delivered.
    pub pending: u64,
    /// Messages delivered but not acknowledged.
    pub unacked: u64,
    /// Open pull requests.
    pub waiting: u64,
}

/// A model with an active version.
#[derive(Clone, Debug)]
pub struct ModelFacts {
    pub name: String,
    /// The reason why a new worker could not load it.
    pub problem: Option<String>,
}

#[derive(Clone, Debug)]
pub struct RouteFacts {
    pub name: RouteName,
    pub route: Result<Route, String>,
}

#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// The version of Inferbus.
    pub version: String,
    pub status: WorkerStatus,
}

impl Facts {
    /// The valid routes of mode `stream`.
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
