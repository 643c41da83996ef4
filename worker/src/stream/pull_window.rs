//! The pull window: the number of a route's messages in flight.
//!
//! It follows the number of messages settled lately, so a slow model leaves messages to other workers.

use std::time::Instant;

use crate::limits;

pub(super) struct PullWindow {
    size: usize,
    settled: usize,
    since: Instant,
}

impl Default for PullWindow {
    fn default() -> Self {
        Self { size: 0, settled: 0, since: Instant::now() }
    }
}

impl PullWindow {
    pub(super) fn settled(&mut self) {
        self.settled += 1;
    }

    pub(super) fn size(&mut self, least: usize) -> usize {
        if self.since.elapsed() >= limits::PULL_WINDOW_SPAN {
            (self.size, self.settled, self.since) = (self.settled, 0, Instant::now());
        }
        self.size.max(self.settled).clamp(least, limits::PULL_WINDOW)
    }
}
