//! Many planes: started, checked and stopped together.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use inferbus_catalog::{ModelName, Route, RouteName};

use super::plane::{Parts, Plane};
use super::site::{MODEL, Site};

pub struct Fleet {
    pub planes: Vec<Plane>,
}

/// The times of all planes, in seconds after one moment.
#[derive(Clone, Debug)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn since(began: Instant, times: Vec<Instant>) -> Self {
        let mut seconds: Vec<f64> = times.into_iter().map(|at| (at - began).as_secs_f64()).collect();
        seconds.sort_unstable_by(f64::total_cmp);
        Self(seconds)
    }

    fn at(&self, place: usize) -> f64 {
        self.0.get(place).copied().unwrap_or(f64::NAN)
    }

    pub fn first(&self) -> f64 {
        self.at(0)
    }

    pub fn median(&self) -> f64 {
        self.at(self.0.len() / 2)
    }

    pub fn last(&self) -> f64 {
        self.at(self.0.len().saturating_sub(1))
    }
}

impl Fleet {
    /// Starts planes at the same time, and waits until each knows all models.
    pub async fn start(site: &Site, count: usize) -> anyhow::Result<(Self, Times)> {
        let (parts, began) = (Parts::of(site)?, Instant::now());
        let starts = (0..count).map(|_| {
            let start = Plane::start(parts.clone());
            tokio::spawn(async move { anyhow::Ok((start.await?, Instant::now())) })
        });
        let started: anyhow::Result<Vec<(Plane, Instant)>> = try_join_all(starts).await?.into_iter().collect();
        let (planes, times) = started.context("a plane did not start")?.into_iter().unzip();
        let fleet = Self { planes };
        fleet.check(site)?;
        Ok((fleet, Times::since(began, times)))
    }

    /// Fails if a plane misses a model.
    pub fn check(&self, site: &Site) -> anyhow::Result<()> {
        self.planes.iter().try_for_each(|plane| plane.check(site.active()))
    }

    pub async fn load(&self) -> anyhow::Result<()> {
        try_join_all(self.planes.iter().map(|plane| plane.load(MODEL))).await?;
        Ok(())
    }

    /// Waits until all planes serve a version.
    pub async fn until_serving(&self, version: &str) -> anyhow::Result<Vec<Instant>> {
        let model: ModelName = MODEL.parse()?;
        try_join_all(self.planes.iter().map(|plane| plane.until_serving(&model, version))).await
    }

    /// Waits until all planes have a route.
    pub async fn until_routed(&self, (name, route): &(RouteName, Route)) -> anyhow::Result<Vec<Instant>> {
        try_join_all(self.planes.iter().map(|plane| plane.until_routed(name, route))).await
    }

    /// Fails if a plane has another number of routes.
    pub fn check_routes(&self, routes: usize) -> anyhow::Result<()> {
        let wrong = self.planes.iter().map(Plane::routes).find(|found| *found != routes);
        ensure!(wrong.is_none(), "a plane has {wrong:?} routes instead of {routes}");
        Ok(())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        try_join_all(self.planes.into_iter().map(Plane::stop)).await?;
        Ok(())
    }
}
