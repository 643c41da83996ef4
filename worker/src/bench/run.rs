//! One run: subscriptions, senders, the wait for the last answers, and the sum of it all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use super::arrivals::Arrivals;
use super::contents::Contents;
use super::drive::Drive;
use super::fault::BenchFault;
use super::outcome::Outcome;
use super::tally::Tally;
use crate::limits;

/// What all runs of a bench have in common.
pub struct Bench {
    pub clients: Vec<Client>,
    pub targets: Vec<Target>,
    pub headers: Option<HeaderMap>,
    pub contents: Contents,
    /// None for requests and their replies.
    pub stream: Option<Stream>,
    pub outstanding: usize,
    pub wait: Duration,
    pub seed: u64,
    pub troubles: Arc<Troubles>,
}

/// Where requests go.
pub struct Target {
    pub name: String,
    pub subject: Subject,
    pub weight: u32,
    pub payloads: Vec<Bytes>,
}

/// Messages into a stream, and where their results come.
#[derive(Clone, Debug)]
pub struct Stream {
    pub stream: String,
    pub results: String,
    /// Only what this route has made.
    pub route: Option<String>,
    pub results_per_message: u32,
}

#[derive(Clone, Copy, Debug)]
pub enum Load {
    /// So many a second are due, whatever becomes of them.
    Open { rate: f64, arrivals: Arrivals },
    /// The next is sent when one has its end.
    Closed { in_flight: usize },
}

#[derive(Clone, Copy, Debug)]
pub enum Length {
    For(Duration),
    Requests(u64),
}

#[derive(Clone, Copy, Debug)]
pub struct Stint {
    pub load: Load,
    pub warm_up: Duration,
    pub length: Length,
}

/// What happened to the connections.
#[derive(Debug, Default)]
pub struct Troubles {
    pub disconnected: AtomicU64,
    /// The client had to throw answers away.
    pub dropped: AtomicU64,
    pub refused: AtomicU64,
}

impl Troubles {
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

    fn counts(&self) -> [u64; 3] {
        [&self.disconnected, &self.dropped, &self.refused].map(|counter| counter.load(Ordering::Relaxed))
    }
}

impl Stint {
    /// The rate asked for; a closed loop asks for none.
    pub fn rate(&self) -> Option<f64> {
        match self.load {
            Load::Open { rate, .. } => Some(rate),
            Load::Closed { .. } => None,
        }
    }

    /// When the last request is due, as far as that is known before.
    fn planned_end(&self) -> Option<Duration> {
        match (self.length, self.load) {
            (Length::For(length), _) => Some(self.warm_up + length),
            (Length::Requests(count), Load::Open { rate, .. }) => {
                Some(self.warm_up + Duration::from_secs_f64(count as f64 / rate))
            }
            (Length::Requests(_), Load::Closed { .. }) => None,
        }
    }
}

/// Runs until everything that was sent has its end, or `stop` says that it is enough.
pub async fn run(bench: &Arc<Bench>, stint: Stint, stop: &CancellationToken) -> Result<Outcome, BenchFault> {
    let before = bench.troubles.counts();
    let tallies = bench.targets.iter().map(|_| Tally::new()).collect::<Result<Vec<_>, _>>()?;
    let inboxes: Vec<String> = bench.clients.iter().map(Client::new_inbox).collect();
    let mut heard = super::drive::subscribe(bench, &inboxes).await?;
    let (cpu, started) = (cpu(), Instant::now());
    let drive = Arc::new(Drive::new(bench.clone(), inboxes, stint, tallies));
    let ears: Vec<_> = heard.drain(..).map(|ear| tokio::spawn(drive.clone().hear(ear))).collect();
    let sent = drive.clone().begin(stop).await;
    let stopped = match sent {
        Ok(()) => drive.wait(stop).await,
        Err(_) => true,
    };
    if bench.stream.is_some() && !stopped {
        tokio::time::sleep(limits::BENCH_LINGER).await;
    }
    ears.iter().for_each(tokio::task::JoinHandle::abort);
    sent?;
    let wall = started.elapsed();
    let now = drive.now();
    let closed = drive.close()?;
    let end = match stint.planned_end() {
        _ if stopped => now,
        Some(planned) => planned.max(closed.last_end),
        None => closed.last_end,
    };
    let after = bench.troubles.counts();
    Ok(Outcome {
        stint,
        measured: end.saturating_sub(stint.warm_up),
        targets: bench.targets.iter().map(|target| target.name.clone()).zip(closed.tallies).collect(),
        late: closed.late,
        twice: closed.twice,
        foreign: closed.foreign,
        remarks: closed.remarks,
        stopped,
        wall,
        cpu: self::cpu().saturating_sub(cpu),
        disconnected: after[0] - before[0],
        dropped: after[1] - before[1],
        refused: after[2] - before[2],
    })
}

/// The processor time of this process so far.
fn cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_run_is_known_before_it_unless_answers_decide() {
        let open = Load::Open { rate: 4.0, arrivals: Arrivals::Even };
        let end = |load, length| Stint { load, warm_up: Duration::from_secs(2), length }.planned_end();
        let (time, count) = (Length::For(Duration::from_secs(3)), Length::Requests(10));
        assert_eq!(end(open, time), Some(Duration::from_secs(5)));
        assert_eq!(end(Load::Closed { in_flight: 1 }, time), Some(Duration::from_secs(5)));
        assert_eq!(end(open, count), Some(Duration::from_millis(4500)));
        assert_eq!(end(Load::Closed { in_flight: 1 }, count), None);
    }
}
