//! How costs grow with what there is more and more of: one file for each family of curves.
//!
//! Promises: where contestants can wait for one another, the points of a curve take turns, so that a noisy machine hits all
//! of them. Every answer is checked.

mod catalog;
mod in_flight;
mod payload;
mod plugin_memory;
mod routes;
mod workers;

use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::Client;
use bytes::Bytes;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::Catalog;

use crate::curve::{Curve, Kind};
use crate::figures::Figures;
use crate::load::{Load, Round, label_of, result_of};
use crate::variants;

/// Rounds of every point.
const ROUNDS: usize = 3;
/// The model of those curves for which it does not matter which.
const MODEL: &str = "m00000";
const NAMES: [&str; 6] = ["payload", "in-flight", "models", "workers", "routes", "plugin-memory"];

/// Those that are named, or all.
pub async fn measure(names: &[String], figures: &mut Figures) -> anyhow::Result<()> {
    let unknown = names.iter().find(|name| !NAMES.contains(&name.as_str()));
    ensure!(unknown.is_none(), "there is no curve {unknown:?}; there are {}", NAMES.join(", "));
    for name in NAMES.into_iter().filter(|name| names.is_empty() || names.iter().any(|wanted| wanted == name)) {
        eprintln!("growth: {name}");
        match name {
            "payload" => payload::measure(figures).await?,
            "in-flight" => in_flight::measure(figures).await?,
            "models" => catalog::measure(figures).await?,
            "workers" => workers::measure(figures).await?,
            "routes" => routes::measure(figures).await?,
            _ => plugin_memory::measure(figures)?,
        }
    }
    Ok(())
}

/// A server with one small model, and a client of it.
async fn site() -> anyhow::Result<(DevServer, Client, Catalog)> {
    let server = DevServer::start(Settings::default()).await?;
    let client = async_nats::connect(server.url()).await?;
    let catalog = Catalog::create(client.clone()).await?;
    variants::push_many(&catalog, 0..1).await?;
    Ok((server, client, catalog))
}

/// Asks the small model on any subject that leads to it.
async fn ask(load: &Load, subject: &str, number: usize) -> anyhow::Result<Duration> {
    let (payload, label) = load.payload(number);
    let (reply, latency) = timed(&load.client, subject, payload).await?;
    ensure!(label_of(&reply)? == label, "{subject} gave a wrong answer to request {number}");
    Ok(latency)
}

async fn timed(client: &Client, subject: &str, payload: Bytes) -> anyhow::Result<(async_nats::Message, Duration)> {
    let started = Instant::now();
    let reply = client.request(subject.to_owned(), payload).await?;
    let latency = started.elapsed();
    result_of(&reply)?;
    Ok((reply, latency))
}

/// Curves of the same points.
#[derive(Default)]
struct Points {
    xs: Vec<f64>,
    /// By curve, then by point: the runs.
    runs: Vec<Vec<Vec<f64>>>,
}

impl Points {
    /// Notes one run of the point at x: one value for each curve.
    fn add(&mut self, x: f64, values: &[f64]) {
        let at = self.xs.iter().position(|other| *other == x).unwrap_or(self.xs.len());
        if at == self.xs.len() {
            self.xs.push(x);
        }
        self.runs.resize_with(values.len().max(self.runs.len()), Vec::new);
        for (runs, value) in self.runs.iter_mut().zip(values) {
            runs.resize_with(self.xs.len(), Vec::new);
            runs[at].push(*value);
        }
    }

    /// Each curve with its name, its kind and what is in its values.
    fn curves(self, figures: &mut Figures, x: &'static str, curves: &[(&str, Kind, &'static str)]) {
        for (runs, (name, kind, y)) in self.runs.into_iter().zip(curves) {
            let points = self.xs.iter().copied().zip(runs);
            figures.add_curve(Curve::of(format!("growth.{name}"), *kind, [x, y], points));
        }
    }
}

/// A round of so many requests to a worker's small model.
async fn round(load: &Load, process: u32, subject: &str, requests: usize, in_flight: usize) -> anyhow::Result<Round> {
    Round::run(process, requests, in_flight, |number| ask(load, subject, number)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_that_take_turns_are_gathered_by_curve_and_by_x() {
        let mut points = Points::default();
        for run in [0.0, 1.0] {
            for x in [10.0, 20.0] {
                points.add(x, &[x + run, x * 100.0 + run]);
            }
        }
        assert_eq!(points.xs, [10.0, 20.0]);
        assert_eq!(points.runs[0], [[10.0, 11.0], [20.0, 21.0]]);
        assert_eq!(points.runs[1], [[1000.0, 1001.0], [2000.0, 2001.0]]);
        let mut figures = Figures::default();
        points.curves(&mut figures, "x", &[("flat", Kind::Cost, "y"), ("steep", Kind::Cost, "y")]);
        let names: Vec<_> = figures.curves.iter().map(|curve| &*curve.name).collect();
        assert_eq!(names, ["growth.flat", "growth.steep"]);
    }

    #[tokio::test]
    async fn a_curve_that_there_is_not_is_refused() {
        let fault = measure(&["payloads".into()], &mut Figures::default()).await.unwrap_err();
        assert!(fault.to_string().contains("payloads") && fault.to_string().contains("in-flight"), "{fault}");
    }
}
