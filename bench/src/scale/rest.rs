//! The cost of idle planes, and of changes of unrelated models.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

use super::fleet::Fleet;
use super::monitor::Spent;
use super::plane::PATIENCE;
use super::site::Site;

/// The interval of readings of the server's request counter.
pub const INTERVAL: Duration = Duration::from_millis(250);
/// Planes are idle after this many intervals with at most `CALM` requests per second and plane.
const INTERVALS: u32 = 4;
const CALM: f64 = 2.0;
/// Unconfirmed puts.
const MAX_IN_FLIGHT: usize = 1024;

/// An idle time, or a time with steady puts.
pub struct Rest {
    pub planes: usize,
    pub spent: Spent,
    /// The highest request rate of all planes, per second in any [`INTERVAL`].
    pub peak: f64,
    /// Seconds from the last put until all planes have a final route: the backlog.
    pub lag: f64,
}

/// Measures for this time, with puts of other models at this rate.
pub async fn measure(site: &Site, fleet: &Fleet, rate: f64, time: Duration) -> anyhow::Result<Rest> {
    let before = site.reading().await?;
    let (peak, puts) = tokio::try_join!(peak(site, time), puts(site, rate, time))?;
    let mut spent = site.reading().await? - before;
    // Excludes the puts.
    spent.taken -= puts as f64;
    let began = Instant::now();
    let last = site.put_route("r0000", &format!("rest.{rate}.{puts}.*")).await?;
    fleet.until_routed(&last).await?;
    let rest = Rest { planes: fleet.planes.len(), spent, peak, lag: began.elapsed().as_secs_f64() };
    fleet.check(site)?;
    eprintln!(
        "{} planes, {rate} puts per second: {:.0} requests per second of all planes, at most {peak:.0}, {:.0} messages \
         and {:.0} KB sent, lag {:.0} ms",
        rest.planes,
        rest.rate(spent.taken),
        rest.rate(spent.sent),
        rest.rate(spent.sent_bytes) / 1e3,
        rest.lag * 1e3
    );
    Ok(rest)
}

impl Rest {
    /// Per second.
    pub fn rate(&self, all: f64) -> f64 {
        all / self.spent.seconds
    }
}

/// The highest request rate of all planes, per second.
pub async fn peak(site: &Site, time: Duration) -> anyhow::Result<f64> {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut peak) = (Instant::now(), 0_f64);
    let (mut at, mut known) = (Instant::now(), site.taken().await?);
    while began.elapsed() < time {
        ticks.tick().await;
        let (now, requests) = (Instant::now(), site.taken().await?);
        let passed = (now - at).as_secs_f64();
        // An interval that is too short is not representative.
        if passed >= INTERVAL.as_secs_f64() / 2.0 {
            peak = peak.max((requests - known) / passed);
            (at, known) = (now, requests);
        }
    }
    Ok(peak)
}

/// Waits until the planes have processed all puts.
pub async fn settle(site: &Site, fleet: &Fleet) -> anyhow::Result<()> {
    let (began, most) = (Instant::now(), CALM * fleet.planes.len() as f64);
    while peak(site, INTERVAL * INTERVALS).await? > most {
        ensure!(began.elapsed() < PATIENCE, "the planes are not idle in time");
    }
    Ok(())
}

/// Rewrites the pointers of all other models in turn. Returns the number of puts.
async fn puts(site: &Site, rate: f64, time: Duration) -> anyhow::Result<usize> {
    let (began, mut in_flight, mut number) = (Instant::now(), FuturesUnordered::new(), 0);
    if rate == 0.0 {
        tokio::time::sleep(time).await;
        return Ok(0);
    }
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while began.elapsed() < time || !in_flight.is_empty() {
        tokio::select! {
            _ = ticks.tick(), if began.elapsed() < time => {
                ensure!(in_flight.len() < MAX_IN_FLIGHT, "the server does not confirm {rate} puts a second");
                let model = format!("m{:05}", 1 + number % (site.active() - 1));
                number += 1;
                in_flight.push(async move { site.models.put(model, "1.0.0".into()).await });
            }
            Some(put) = in_flight.next() => { put?; }
        }
    }
    Ok(number)
}
