//! Why a command over stored messages cannot go on. What is wrong with a single message is no fault of this kind.

use std::error::Error;

use inferbus_catalog::{CatalogFault, Digest, ModelName, Problems, RouteName, Version};

use crate::limits;
use crate::models::bundle::BundleFault;

#[derive(Debug, thiserror::Error)]
pub enum OfflineFault {
    #[error("there is no stream `{0}`: `nats stream ls` lists what there is")]
    NoStream(String),
    #[error(
        "`{0}` is a work queue, which only its own consumers may read: replay a stream with another retention that sources it"
    )]
    WorkQueue(String),
    #[error("cannot {doing}: {reason}; check that NATS runs with JetStream and that this user may do it")]
    Server { doing: String, reason: String },
    #[error(
        "stream `{stream}`: no message came after sequence {after} within {} s, and there are more: try again from there",
        limits::OFFLINE_READ.as_secs()
    )]
    Stalled { stream: String, after: u64 },
    #[error(
        "{found} messages are more than the {most} that one run takes: split it, for example with --to {split} and then from there on with --from"
    )]
    TooMany { found: u64, most: u64, split: u64 },
    #[error("there are more than {} dead letters: choose by --route or --reason", limits::OFFLINE_MESSAGES)]
    TooManyLetters,
    #[error(transparent)]
    Catalog(Box<CatalogFault>),
    #[error("`{0}` is not the name of a route")]
    NoRoute(String),
    #[error("route {name} cannot be read: {problems}")]
    BadRoute { name: RouteName, problems: Problems },
    #[error("the active version of {model} cannot be read: {problems}")]
    Pointer { model: ModelName, problems: Problems },
    #[error("{model} {version} has digest {found}, but {wanted} was activated: activate it again, or name a version")]
    OtherDigest { model: ModelName, version: Version, wanted: Digest, found: Digest },
    #[error("{model} {version} cannot be loaded: {fault}")]
    Bundle { model: ModelName, version: Version, fault: Box<BundleFault> },
    #[error("the compute threads cannot be started: {0}")]
    Lanes(std::io::Error),
    #[error(
        "no message came to its end for {} min: the model hangs, or is far too slow",
        limits::OFFLINE_SILENCE.as_secs() / 60
    )]
    Silent,
    #[error("loading stopped unexpectedly: {0}")]
    Broken(String),
    #[error(
        "the server did not confirm that everything arrived, so some of what was published may be lost: run it again"
    )]
    Unconfirmed,
}

impl From<CatalogFault> for OfflineFault {
    fn from(fault: CatalogFault) -> Self {
        Self::Catalog(Box::new(fault))
    }
}

impl OfflineFault {
    pub fn server(doing: impl Into<String>, fault: &(dyn Error + 'static)) -> Self {
        Self::Server { doing: doing.into(), reason: fault.to_string() }
    }
}
