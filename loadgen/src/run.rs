//! One run: subscribe, send, wait for the last answers, and return the outcome.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Client;
use rustix::time::{ClockId, clock_gettime};
use tokio_util::sync::CancellationToken;

use super::account::stats::TargetStats;
use super::drive::{Driver, subscriptions};
use super::fault::BenchFault;
use super::limits;
use super::report::outcome::Outcome;
use super::settings::{RunSettings, Setup};

/// Returns when all sent requests have ended, or when `stop` is cancelled.
pub async fn run(setup: &Arc<Setup>, settings: RunSettings, stop: &CancellationToken) -> Result<Outcome, BenchFault> {
    let before = setup.events.counts();
    let stats = setup.targets.iter().map(|_| TargetStats::new()).collect::<Result<Vec<_>, _>>()?;
    let inboxes: Vec<String> = setup.clients.iter().map(Client::new_inbox).collect();
    let subscriptions = subscriptions::subscribe(setup, &inboxes).await?;
    let (cpu, started) = (cpu(), Instant::now());
    let driver = Arc::new(Driver::new(setup.clone(), inboxes, settings, stats));
    let receive = |subscription| tokio::spawn(driver.clone().receive(subscription));
    let receivers: Vec<_> = subscriptions.into_iter().map(receive).collect();
    let sent = driver.clone().start(stop).await;
    let stopped = match sent {
        Ok(()) => driver.wait(stop).await,
        Err(_) => true,
    };
    if setup.stream.is_some() && !stopped {
        tokio::time::sleep(limits::LINGER).await;
    }
    receivers.iter().for_each(tokio::task::JoinHandle::abort);
    sent?;
    let wall = started.elapsed();
    let now = driver.now();
    let totals = driver.close()?;
    let end = match settings.planned_end() {
        _ if stopped => now,
        Some(planned) => planned.max(totals.last_end),
        None => totals.last_end,
    };
    let after = setup.events.counts();
    Ok(Outcome {
        settings,
        measured: end.saturating_sub(settings.warm_up),
        targets: setup.targets.iter().map(|target| target.name.clone()).zip(totals.stats).collect(),
        late: totals.late,
        twice: totals.twice,
        foreign: totals.foreign,
        remarks: totals.remarks,
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
