//! A killed and restarted server: the time until all planes are connected, follow, and have a change.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::fleet::{Fleet, Times};
use super::monitor::{Reading, Spent};
use super::plane::{PATIENCE, Plane};
use super::rest;
use super::site::Site;

/// The interval of checks.
const INTERVAL: Duration = Duration::from_millis(5);

pub struct Storm {
    pub planes: usize,
    /// Seconds after the restart until all planes were connected, none was behind, and each had a new route.
    pub connected: f64,
    pub following: f64,
    pub heard: Times,
    /// The cost until then, on a server with zeroed counters.
    pub spent: Spent,
    /// The highest request rate of all planes until then, and later, at their reconciliation.
    pub peak: f64,
    pub later_peak: f64,
    /// Errors reported by the clients.
    pub faults: usize,
}

/// Kills the server, restarts it after `down`, and measures until `after`.
pub async fn measure(site: &mut Site, fleet: &Fleet, down: Duration, after: Duration) -> anyhow::Result<Storm> {
    let before: Vec<(usize, usize)> = fleet.planes.iter().map(Plane::history).collect();
    site.kill().await;
    until(fleet, "notice that the server is gone", |plane| !plane.is_connected()).await?;
    tokio::time::sleep(down).await;
    let began_from = Reading::of_a_new_server()?;
    site.restart().await?;
    let began = Instant::now();
    let (connected, heard, peak) = tokio::try_join!(
        until(fleet, "connect again", Plane::is_connected),
        change(site, fleet, down),
        rest::peak(site, rest::INTERVAL * 8),
    )?;
    // A plane's own status is as old as its last check. It counts only after the change has arrived.
    let following = until(fleet, "follow again", |plane| plane.registry.behind().is_none()).await?;
    let spent = site.reading().await? - began_from;
    let later_peak = rest::peak(site, after).await?;
    check(site, fleet, &before)?;
    let faults = fleet.planes.iter().zip(&before).map(|(plane, before)| plane.history().1 - before.1).sum();
    let since = |at: Instant| (at - began).as_secs_f64();
    let (connected, following, heard) = (since(connected), since(following), Times::since(began, heard));
    let storm = Storm { planes: fleet.planes.len(), connected, following, heard, spent, peak, later_peak, faults };
    eprintln!(
        "{} planes, server down for {down:?}: connected after {connected:.2} s, following after {following:.2} s, a \
         change received after {:.2} s (median {:.2}), {:.0} requests, at most {peak:.0} per second, \
         later {later_peak:.0}, {:.1} MB sent",
        storm.planes,
        storm.heard.last(),
        storm.heard.median(),
        spent.taken,
        spent.sent_bytes / 1e6
    );
    Ok(storm)
}

/// Waits until a condition holds for all planes at the same time.
async fn until(fleet: &Fleet, action: &str, is_so: impl Fn(&Plane) -> bool) -> anyhow::Result<Instant> {
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waited = timeout(PATIENCE, async {
        while !fleet.planes.iter().all(&is_so) {
            ticks.tick().await;
        }
    });
    if waited.await.is_err() {
        let not = fleet.planes.iter().filter(|plane| !is_so(plane)).count();
        anyhow::bail!("{not} of {} planes did not {action} in time", fleet.planes.len());
    }
    Ok(Instant::now())
}

/// The measurement's client reconnects, too, so its put is retried.
async fn change(site: &Site, fleet: &Fleet, down: Duration) -> anyhow::Result<Vec<Instant>> {
    let subject = format!("storm.{}.{}.*", down.as_millis(), fleet.planes.len());
    let put = timeout(PATIENCE, async {
        let mut ticks = interval(INTERVAL * 10);
        loop {
            ticks.tick().await;
            if let Ok(put) = site.put_route("r0000", &subject).await {
                return put;
            }
        }
    });
    let put = put.await.context("a route could not be put after the storm")?;
    fleet.until_routed(&put).await
}

/// Fails unless each plane has reconnected and knows all models.
fn check(site: &Site, fleet: &Fleet, before: &[(usize, usize)]) -> anyhow::Result<()> {
    let again = fleet.planes.iter().zip(before).filter(|(plane, before)| plane.history().0 > before.0).count();
    ensure!(again == fleet.planes.len(), "only {again} of {} planes have reconnected", fleet.planes.len());
    fleet.check(site)
}
