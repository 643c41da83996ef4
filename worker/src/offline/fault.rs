//! Faults at the end of a command over stored messages. The failure of a single message is not one of them.

use std::error::Error;

use inferbus_catalog::{CatalogFault, Digest, ModelName, Problems, RouteName, Version};

use crate::limits;
use crate::models::loader::BundleFault;

#[derive(Debug, thiserror::Error)]
pub enum OfflineFault {
    #[error("there is no stream `{0}`: `nats stream ls` lists the streams")]
    NoStream(String),
    #[error(
        "`{0}` is a work queue: only its own consumers can read it; replay from a stream with another retention that \
         sources it"
    )]
    WorkQueue(String),
    #[error("cannot {action}: {reason}; check that NATS runs with JetStream and that this user has the permission")]
    Server { action: String, reason: String },
    #[error(
        "stream `{stream}` stalled: no message arrived within {} s after sequence {after}, but more are stored; \
         run it again from there",
        limits::OFFLINE_READ.as_secs()
    )]
    Stalled { stream: String, after: u64 },
    #[error(
        "{found} messages exceed the limit of {limit} per run: split the range, for example with --to {split}, \
         then continue there with --from"
    )]
    TooMany { found: u64, limit: u64, split: u64 },
    #[error("more than {} dead letters match: select with --route or --reason", limits::OFFLINE_MESSAGES)]
    TooManyDeadLetters,
    #[error(transparent)]
    Catalog(Box<CatalogFault>),
    #[error("`{0}` is not a valid route name")]
    BadRouteName(String),
    #[error("route {name} cannot be read: {problems}")]
    BadRoute { name: RouteName, problems: Problems },
    #[error("the active version of {model} cannot be read: {problems}")]
    Pointer { model: ModelName, problems: Problems },
    #[error(
        "{model} {version} has the digest {found}, but {wanted} was activated: activate it again, or pass --version"
    )]
    OtherDigest { model: ModelName, version: Version, wanted: Digest, found: Digest },
    #[error("{model} {version} cannot be loaded: {fault}")]
    Bundle { model: ModelName, version: Version, fault: Box<BundleFault> },
    #[error("the compute threads cannot be started: {0}")]
    Lanes(std::io::Error),
    #[error(
        "no message finished within {} min: the model hangs or is far too slow",
        limits::OFFLINE_SILENCE.as_secs() / 60
    )]
    NoProgress,
    #[error("loading the version panicked: {0}")]
    LoadPanicked(String),
    #[error("the server did not confirm all published messages, and some may be lost: run it again")]
    Unconfirmed,
}

impl From<CatalogFault> for OfflineFault {
    fn from(fault: CatalogFault) -> Self {
        Self::Catalog(Box::new(fault))
    }
}

impl OfflineFault {
    pub fn server(action: impl Into<String>, fault: &(dyn Error + 'static)) -> Self {
        Self::Server { action: action.into(), reason: fault.to_string() }
    }
}
