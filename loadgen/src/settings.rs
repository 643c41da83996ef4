//! The settings of a load test and of its runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;

use super::account::answers::AnswerCheck;
use super::generate::arrivals::Arrivals;

/// Shared by all runs of a load test.
pub struct Setup {
    pub clients: Vec<Client>,
    pub targets: Vec<Target>,
    pub headers: Option<HeaderMap>,
    pub answers: AnswerCheck,
    /// None for requests with replies.
    pub stream: Option<Stream>,
    pub max_outstanding: usize,
    pub wait: Duration,
    pub seed: u64,
    pub events: Arc<ConnectionEvents>,
}

/// The destination of requests.
pub struct Target {
    pub name: String,
    pub subject: Subject,
    pub weight: u32,
    pub payloads: Vec<Bytes>,
}

/// A stream as the destination, and the subject of its results.
#[derive(Clone, Debug)]
pub struct Stream {
    pub stream: String,
    pub results: String,
    /// Ignores results of other routes.
    pub route: Option<String>,
    pub results_per_message: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// Requests are due at this rate per second, independent of answers.
    Open { rate: f64, arrivals: Arrivals },
    /// Each finished request starts the next one.
    Closed { in_flight: usize },
}

#[derive(Clone, Copy, Debug)]
pub enum Length {
    For(Duration),
    Requests(u64),
}

#[derive(Clone, Copy, Debug)]
pub struct RunSettings {
    pub load: Load,
    pub warm_up: Duration,
    pub length: Length,
}

/// Counts of connection events.
#[derive(Debug, Default)]
pub struct ConnectionEvents {
    pub disconnected: AtomicU64,
    /// The client dropped answers.
    pub dropped: AtomicU64,
    pub refused: AtomicU64,
}

impl ConnectionEvents {
    pub fn note(&self, event: &async_nats::Event) {
        use async_nats::Event;
        let counter = match event {
            Event::Disconnected => &self.disconnected,
            Event::SlowConsumer(_) => &self.dropped,
            Event::ServerError(_) => &self.refused,
            _ => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn counts(&self) -> [u64; 3] {
        [&self.disconnected, &self.dropped, &self.refused].map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl RunSettings {
    /// The requested rate of an open loop.
    pub fn rate(&self) -> Option<f64> {
        match self.load {
            Load::Open { rate, .. } => Some(rate),
            Load::Closed { .. } => None,
        }
    }

    /// The due time of the last request; none if it depends on answers.
    pub(super) fn planned_end(&self) -> Option<Duration> {
        match (self.length, self.load) {
            (Length::For(length), _) => Some(self.warm_up + length),
            (Length::Requests(count), Load::Open { rate, .. }) => {
                Some(self.warm_up + Duration::from_secs_f64(count as f64 / rate))
            }
            (Length::Requests(_), Load::Closed { .. }) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_is_planned_unless_answers_decide() {
        let open = Load::Open { rate: 4.0, arrivals: Arrivals::Even };
        let end = |load, length| RunSettings { load, warm_up: Duration::from_secs(2), length }.planned_end();
        let (time, count) = (Length::For(Duration::from_secs(3)), Length::Requests(10));
        assert_eq!(end(open, time), Some(Duration::from_secs(5)));
        assert_eq!(end(Load::Closed { in_flight: 1 }, time), Some(Duration::from_secs(5)));
        assert_eq!(end(open, count), Some(Duration::from_millis(4500)));
        assert_eq!(end(Load::Closed { in_flight: 1 }, count), None);
    }
}
