//! The entry to the lanes for requests and streams: selects the active bundle and checks the message against it.
//!
//! Guarantees: no await and no I/O.

use std::sync::Arc;

use async_nats::HeaderMap;
use inferbus_pipeline::{Encoding, Refusal};

use super::lane::Lanes;
use super::queue::{Job, Queue};
use super::ticket::Ticket;
use crate::models::bundle::Bundle;
use crate::models::registry::Registry;

pub struct Dispatch {
    pub registry: Arc<Registry>,
    pub queue: Arc<Queue<Job<Ticket>>>,
    /// Dropping the lanes closes the queue.
    pub lanes: Lanes<Ticket>,
    pub lane_count: usize,
}

impl Dispatch {
    pub fn new(registry: Arc<Registry>, lanes: Lanes<Ticket>, lane_count: usize) -> Self {
        Self { registry, queue: lanes.queue(), lanes, lane_count }
    }

    /// The active bundle for a message of this size and encoding, or the refusal.
    pub fn admit(
        &self,
        model: &str,
        len: usize,
        headers: Option<&HeaderMap>,
    ) -> Result<(Arc<Bundle>, Encoding), Refusal> {
        let bundle = self.registry.active(model)?;
        let encoding = bundle.admits(len, headers)?;
        Ok((bundle, encoding))
    }
}
