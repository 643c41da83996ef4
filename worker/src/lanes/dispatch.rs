//! The handles that requests and streams share: the registry, and the queue in front of the lanes.

use std::sync::Arc;

use super::lane::Lanes;
use super::queue::{Job, Queue};
use super::ticket::Ticket;
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
}
