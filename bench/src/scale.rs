//! The scale of a deployment without messages: many control planes on one real server, without lanes or inference.
//!
//! Guarantees: each plane connects, follows and resolves with the code of a worker. Every wait is bounded. Every plane
//! is checked against the catalog.

mod artifacts;
mod bump;
mod bus;
mod fleet;
pub mod model;
mod monitor;
mod plane;
mod rest;
mod results;
mod site;
mod start;
mod storm;
pub mod table;

use std::time::Duration;

use self::fleet::Fleet;
use self::results::Results;
use self::site::Site;
use crate::paper::figures::Figures;

/// The sizes of a measurement.
struct Plan {
    /// Members of a queue group, and idle connections.
    members: &'static [usize],
    connections: usize,
    /// Planes and their few keys. Later fleets are bumped. The last one also rests and survives the storms.
    few_keys: (usize, usize),
    fleets: &'static [usize],
    keys: usize,
    rounds: usize,
    /// Fleets that fetch one model.
    fetching: &'static [usize],
    routes: &'static [usize],
    /// The idle time of the last fleet, then puts per second and their duration.
    rest: Duration,
    beats: &'static [f64],
    beat: Duration,
    /// The downtimes of the server.
    storms: &'static [Duration],
    after: Duration,
    /// Fleets with many keys. The last one survives one more storm.
    many_keys: (&'static [usize], usize),
}

const SHORT: Plan = Plan {
    members: &[1, 20],
    connections: 200,
    few_keys: (10, 100),
    fleets: &[10, 20],
    keys: 1000,
    rounds: 1,
    fetching: &[20],
    routes: &[100],
    rest: Duration::from_secs(8),
    beats: &[10.0],
    beat: Duration::from_secs(3),
    storms: &[Duration::ZERO],
    after: Duration::from_secs(5),
    many_keys: (&[20], 4000),
};

const LONG: Plan = Plan {
    members: &[1, 25, 50, 100, 200],
    connections: 1000,
    few_keys: (50, 100),
    fleets: &[25, 50, 100, 200],
    keys: 1000,
    rounds: 3,
    fetching: &[25, 50],
    routes: &[100, 300],
    rest: Duration::from_secs(45),
    beats: &[10.0, 100.0],
    beat: Duration::from_secs(10),
    storms: &[Duration::ZERO, Duration::from_secs(20)],
    after: Duration::from_secs(20),
    many_keys: (&[50, 200], 10_000),
};

pub async fn measure(short: bool, figures: &mut Figures) -> anyhow::Result<()> {
    let plan = if short { SHORT } else { LONG };
    let (mut site, mut results) = (Site::open().await?, Results::default());
    let measured = plan.measure(&mut site, &mut results).await;
    // A later failure must not lose earlier results.
    results.add_to(figures);
    site.close().await;
    measured
}

impl Plan {
    async fn measure(&self, site: &mut Site, results: &mut Results) -> anyhow::Result<()> {
        for &members in self.members {
            results.requests.push((members, bus::request(site, members).await?));
        }
        results.connections = Some(bus::connections(site, self.connections).await?);
        site.routes(0..1).await?;
        let (planes, keys) = self.few_keys;
        start(site, planes, keys, results).await?.stop().await?;
        for (number, &planes) in self.fleets.iter().enumerate() {
            let fleet = start(site, planes, self.keys, results).await?;
            self.changes(site, &fleet, results).await?;
            if number + 1 == self.fleets.len() {
                self.beside(site, &fleet, results).await?;
                self.storms(site, &fleet, results).await?;
                self.route_lists(site, &fleet, results).await?;
            }
            fleet.stop().await?;
        }
        self.many_keys(site, results).await
    }

    async fn changes(&self, site: &Site, fleet: &Fleet, results: &mut Results) -> anyhow::Result<()> {
        results.versions.extend(bump::versions(site, fleet, self.rounds).await?);
        results.routes.extend(bump::routes(site, fleet, 1, self.rounds).await?);
        if self.fetching.contains(&fleet.planes.len()) {
            let artifact = artifacts::store(site).await?;
            results.fetches.push(artifacts::measure(site, fleet, artifact).await?);
        }
        Ok(())
    }

    /// Idle, and beside puts of unrelated models.
    async fn beside(&self, site: &Site, fleet: &Fleet, results: &mut Results) -> anyhow::Result<()> {
        results.rests.push((0.0, rest::measure(site, fleet, 0.0, self.rest).await?));
        for &rate in self.beats {
            results.rests.push((rate, rest::measure(site, fleet, rate, self.beat).await?));
            rest::settle(site, fleet).await?;
        }
        Ok(())
    }

    async fn storms(&self, site: &mut Site, fleet: &Fleet, results: &mut Results) -> anyhow::Result<()> {
        for &down in self.storms {
            let storm = storm::measure(site, fleet, down, self.after).await?;
            results.storms.push((self.keys, down.as_secs(), storm));
        }
        Ok(())
    }

    /// The routes remain for later fleets.
    async fn route_lists(&self, site: &Site, fleet: &Fleet, results: &mut Results) -> anyhow::Result<()> {
        let mut present = 1;
        for &routes in self.routes {
            site.routes(present..routes).await?;
            present = routes;
            // Waits for all routes before the change of one.
            fleet.until_routed(&site.put_route("r0000", &format!("before.{routes}.*")).await?).await?;
            let changes = bump::routes(site, fleet, routes, 1).await?;
            results.many_routes.extend(changes.into_iter().map(|change| (routes, change)));
        }
        Ok(())
    }

    async fn many_keys(&self, site: &mut Site, results: &mut Results) -> anyhow::Result<()> {
        let (fleets, keys) = self.many_keys;
        for (number, &planes) in fleets.iter().enumerate() {
            let fleet = start(site, planes, keys, results).await?;
            if number + 1 == fleets.len() {
                let storm = storm::measure(site, &fleet, Duration::ZERO, rest::INTERVAL * 4).await?;
                results.storms.push((keys, 0, storm));
            }
            fleet.stop().await?;
        }
        Ok(())
    }
}

async fn start(site: &mut Site, planes: usize, keys: usize, results: &mut Results) -> anyhow::Result<Fleet> {
    let (fleet, start) = start::measure(site, planes, keys).await?;
    results.starts.push(start);
    Ok(fleet)
}
