//! The time until a change has reached all planes: a version of a served model, and a route.

use std::time::Instant;

use super::fleet::{Fleet, Times};
use super::monitor::Spent;
use super::site::{MODEL, Site, VERSIONS};

/// One change.
pub struct Change {
    pub planes: usize,
    pub times: Times,
    pub spent: Spent,
}

/// Puts the versions in turn. The first bump fills the caches and is not counted.
pub async fn versions(site: &Site, fleet: &Fleet, rounds: usize) -> anyhow::Result<Vec<Change>> {
    fleet.load().await?;
    let mut changes = Vec::new();
    for round in 0..=rounds {
        let change = version(site, fleet, VERSIONS[(round + 1) % VERSIONS.len()]).await?;
        if round > 0 {
            changes.push(change);
        }
    }
    // The next fleet starts with the first version.
    if !(rounds + 1).is_multiple_of(VERSIONS.len()) {
        version(site, fleet, VERSIONS[0]).await?;
    }
    Ok(changes)
}

async fn version(site: &Site, fleet: &Fleet, version: &str) -> anyhow::Result<Change> {
    let before = site.reading().await?;
    let began = Instant::now();
    let put = async {
        site.models.put(MODEL, version.to_owned().into()).await?;
        anyhow::Ok(())
    };
    let (served, ()) = tokio::try_join!(fleet.until_serving(version), put)?;
    change(site, fleet, "version", Times::since(began, served), before).await
}

/// Changes the subject of one route repeatedly. `present` is the number of all routes.
pub async fn routes(site: &Site, fleet: &Fleet, present: usize, rounds: usize) -> anyhow::Result<Vec<Change>> {
    let mut changes = Vec::new();
    for round in 0..rounds {
        let before = site.reading().await?;
        let began = Instant::now();
        let put = site.put_route("r0000", &format!("changed.{present}.{}.{round}.*", fleet.planes.len())).await?;
        let received = fleet.until_routed(&put).await?;
        changes.push(change(site, fleet, "route", Times::since(began, received), before).await?);
        fleet.check_routes(present)?;
    }
    Ok(changes)
}

async fn change(
    site: &Site,
    fleet: &Fleet,
    kind: &str,
    times: Times,
    before: super::monitor::Reading,
) -> anyhow::Result<Change> {
    let (planes, spent) = (fleet.planes.len(), site.reading().await? - before);
    eprintln!(
        "{planes} planes, a {kind}: first {:.0} ms, median {:.0} ms, last {:.0} ms, {:.1} requests per plane",
        times.first() * 1e3,
        times.median() * 1e3,
        times.last() * 1e3,
        spent.taken / planes as f64
    );
    Ok(Change { planes, times, spent })
}
