//! What happens when the server is killed and comes back: until all planes are connected, follow, and have heard of a change.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::fleet::{Fleet, Times};
use super::monitor::{Reading, Spent};
use super::plane::{PATIENCE, Plane};
use super::rest;
use super::site::Site;

/// How often planes are looked at.
const LOOK: Duration = Duration::from_millis(5);

pub struct Storm {
    pub planes: usize,
    /// Seconds after the server was there again: until all were connected, until each had a route that was put when it
    /// was there, and until none said any more that it is behind.
    pub connected: f64,
    pub following: f64,
    pub heard: Times,
    /// What it took until then, of a server that began with nothing.
    pub spent: Spent,
    /// The most requests of all planes in a second, until all had heard, and later, when each plane compares again.
    pub peak: f64,
    pub later_peak: f64,
    /// Faults that the clients told of.
    pub faults: usize,
}

/// Kills the server, leaves it down for so long, starts it again, and then watches for so long.
pub async fn measure(site: &mut Site, fleet: &Fleet, down: Duration, after: Duration) -> anyhow::Result<Storm> {
    let before: Vec<(usize, usize)> = fleet.planes.iter().map(Plane::history).collect();
    site.kill().await;
    until(fleet, "notice that the server is gone", |plane| !plane.is_connected()).await?;
    tokio::time::sleep(down).await;
    let began_from = Reading::of_a_new_server()?;
    site.start_again().await?;
    let began = Instant::now();
    let (connected, heard, peak) = tokio::try_join!(
        until(fleet, "connect again", Plane::is_connected),
        change(site, fleet, down),
        rest::peak(site, rest::LOOK * 8),
    )?;
    // What a plane says of itself is as old as its last look, so it counts only after it has heard of a change.
    let following = until(fleet, "follow again", |plane| plane.registry.behind().is_none()).await?;
    let spent = site.reading().await? - began_from;
    let later_peak = rest::peak(site, after).await?;
    check(site, fleet, &before)?;
    let faults = fleet.planes.iter().zip(&before).map(|(plane, before)| plane.history().1 - before.1).sum();
    let since = |at: Instant| (at - began).as_secs_f64();
    let (connected, following, heard) = (since(connected), since(following), Times::since(began, heard));
    let storm = Storm { planes: fleet.planes.len(), connected, following, heard, spent, peak, later_peak, faults };
    eprintln!(
        "{} planes, server gone for {down:?}: connected after {connected:.2} s, following after {following:.2} s, a change heard after \
         {:.2} s (median {:.2}), {:.0} requests, at most {peak:.0} a second, later {later_peak:.0}, {:.1} MB sent",
        storm.planes,
        storm.heard.last(),
        storm.heard.median(),
        spent.taken,
        spent.sent_bytes / 1e6
    );
    Ok(storm)
}

/// Waits until something is true of each plane at the same time.
async fn until(fleet: &Fleet, what: &str, is_so: impl Fn(&Plane) -> bool) -> anyhow::Result<Instant> {
    let mut beat = interval(LOOK);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let waited = timeout(PATIENCE, async {
        while !fleet.planes.iter().all(&is_so) {
            beat.tick().await;
        }
    });
    if waited.await.is_err() {
        let not = fleet.planes.iter().filter(|plane| !is_so(plane)).count();
        anyhow::bail!("{not} of {} planes did not {what} in time", fleet.planes.len());
    }
    Ok(Instant::now())
}

/// The measurement's own client reconnects like any other, so its put is tried until it is confirmed.
async fn change(site: &Site, fleet: &Fleet, down: Duration) -> anyhow::Result<Vec<Instant>> {
    let subject = format!("storm.{}.{}.*", down.as_millis(), fleet.planes.len());
    let put = timeout(PATIENCE, async {
        let mut beat = interval(LOOK * 10);
        loop {
            beat.tick().await;
            if let Ok(put) = site.put_route("r0000", &subject).await {
                return put;
            }
        }
    });
    let put = put.await.context("a route could not be put after the storm")?;
    fleet.until_routed(&put).await
}

/// Each was connected anew, and knows all that it knew.
fn check(site: &Site, fleet: &Fleet, before: &[(usize, usize)]) -> anyhow::Result<()> {
    let again = fleet.planes.iter().zip(before).filter(|(plane, before)| plane.history().0 > before.0).count();
    ensure!(again == fleet.planes.len(), "only {again} of {} planes were connected anew", fleet.planes.len());
    fleet.check(site)
}
