//! The handles shared by all stream routes of a worker.

use std::sync::Arc;

use async_nats::Client;

use super::credits::Credits;
use crate::crashes::journal::Journal;
use crate::lanes::dispatch::Dispatch;
use crate::observe::metrics::Metrics;

/// The server confirmations awaited at a message's end. Workers await all; a benchmark omits some to measure them.
#[derive(Clone, Copy, Debug)]
pub struct Confirmations {
    /// The PubAck of a stored result.
    pub stored: bool,
    /// The server's answer to an acknowledgement.
    pub acknowledged: bool,
}

impl Default for Confirmations {
    fn default() -> Self {
        Self { stored: true, acknowledged: true }
    }
}

pub struct StreamContext {
    pub client: Client,
    pub dispatch: Arc<Dispatch>,
    pub metrics: Arc<Metrics>,
    pub journal: Option<Arc<Journal>>,
    pub credits: Credits,
    pub confirmations: Confirmations,
}
