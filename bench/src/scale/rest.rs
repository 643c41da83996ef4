//! What planes cost when nothing changes, and when models change that they do not serve.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;

use super::fleet::Fleet;
use super::monitor::Spent;
use super::plane::PATIENCE;
use super::site::Site;

/// How often the server is asked how many requests it took.
pub const LOOK: Duration = Duration::from_millis(250);
/// Planes are at rest when none of so many looks saw more than so many requests a second of each.
const LOOKS: u32 = 4;
const CALM: f64 = 2.0;
/// Puts that are not confirmed yet.
const MOST_UNDER_WAY: usize = 1024;

/// A time of rest, or of a beat of puts.
pub struct Rest {
    pub planes: usize,
    pub spent: Spent,
    /// The most requests of all planes in a second, as seen in any time of [`LOOK`].
    pub peak: f64,
    /// How long after the last put all planes knew a route that was put then: what was still to be done.
    pub lag: f64,
}

/// Watches for so long, while so many other models a second are put.
pub async fn measure(site: &Site, fleet: &Fleet, rate: f64, time: Duration) -> anyhow::Result<Rest> {
    let before = site.reading().await?;
    let (peak, puts) = tokio::try_join!(peak(site, time), puts(site, rate, time))?;
    let mut spent = site.reading().await? - before;
    // The puts themselves are not the planes'.
    spent.taken -= puts as f64;
    let began = Instant::now();
    let last = site.put_route("r0000", &format!("rest.{rate}.{puts}.*")).await?;
    fleet.until_routed(&last).await?;
    let rest = Rest { planes: fleet.planes.len(), spent, peak, lag: began.elapsed().as_secs_f64() };
    fleet.check(site)?;
    eprintln!(
        "{} planes, {rate} puts a second: {:.0} requests a second of all planes, at most {peak:.0}, {:.0} messages and {:.0} KB sent, lag {:.0} ms",
        rest.planes,
        rest.rate(spent.taken),
        rest.rate(spent.sent),
        rest.rate(spent.sent_bytes) / 1e3,
        rest.lag * 1e3
    );
    Ok(rest)
}

impl Rest {
    /// Each second.
    pub fn rate(&self, all: f64) -> f64 {
        all / self.spent.seconds
    }
}

/// The most requests of all planes in a second.
pub async fn peak(site: &Site, time: Duration) -> anyhow::Result<f64> {
    let mut beat = tokio::time::interval(LOOK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (began, mut peak) = (Instant::now(), 0_f64);
    let (mut at, mut known) = (Instant::now(), site.taken().await?);
    while began.elapsed() < time {
        beat.tick().await;
        let (now, requests) = (Instant::now(), site.taken().await?);
        let passed = (now - at).as_secs_f64();
        // A look that comes at once after another one says nothing of a second.
        if passed >= LOOK.as_secs_f64() / 2.0 {
            peak = peak.max((requests - known) / passed);
            (at, known) = (now, requests);
        }
    }
    Ok(peak)
}

/// Waits until the planes have done what puts have left them to do.
pub async fn settle(site: &Site, fleet: &Fleet) -> anyhow::Result<()> {
    let (began, most) = (Instant::now(), CALM * fleet.planes.len() as f64);
    while peak(site, LOOK * LOOKS).await? > most {
        ensure!(began.elapsed() < PATIENCE, "the planes do not come to rest in time");
    }
    Ok(())
}

/// Puts pointers as they are anew, of all models but the one that is served, in turn. Gives how many.
async fn puts(site: &Site, rate: f64, time: Duration) -> anyhow::Result<usize> {
    let (began, mut under_way, mut number) = (Instant::now(), FuturesUnordered::new(), 0);
    if rate == 0.0 {
        tokio::time::sleep(time).await;
        return Ok(0);
    }
    let mut beat = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    beat.set_missed_tick_behavior(MissedTickBehavior::Burst);
    while began.elapsed() < time || !under_way.is_empty() {
        tokio::select! {
            _ = beat.tick(), if began.elapsed() < time => {
                ensure!(under_way.len() < MOST_UNDER_WAY, "the server does not confirm {rate} puts a second");
                let model = format!("m{:05}", 1 + number % (site.active() - 1));
                number += 1;
                under_way.push(async move { site.models.put(model, "1.0.0".into()).await });
            }
            Some(put) = under_way.next() => { put?; }
        }
    }
    Ok(number)
}
