//! Over the routes of one worker: start, memory, and processor time of a message on the last route.

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use inferbus_catalog::{Catalog, Route, RouteName};

use super::points::{Points, ROUNDS};
use super::site::{MODEL, ask, round, site};
use crate::load::Load;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;
use crate::subjects::launched_worker::LaunchedWorker;

const ROUTES: [usize; 5] = [1, 10, 100, 300, 1000];
const REQUESTS: usize = 20_000;
const IN_FLIGHT: usize = 64;
const PUTS_AT_ONCE: usize = 64;
/// A worker is ready before the server has processed all of its subscriptions.
const RETRY: std::time::Duration = std::time::Duration::from_millis(20);
const RETRIES: usize = 500;

/// Routes are only added, so their numbers do not alternate.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let (server, client, catalog) = site().await?;
    let load = Load::new(client, 0, 0)?;
    let cache = tempfile::tempdir()?;
    let folder = cache.path().to_str().context("the folder's name is not UTF-8")?;
    let (mut points, mut present) = (Points::default(), 0);
    for routes in ROUTES {
        put(&catalog, present..routes).await?;
        present = routes;
        let subject = format!("sensors.{}.raw", routes - 1);
        for _ in 0..ROUNDS {
            let worker = LaunchedWorker::start(server.url(), &["--cache", folder]).await?;
            let resident = worker.resident().await? as f64 / 1e6;
            wait_until_served(&load, &subject).await?;
            let round = round(&load, worker.process()?, &subject, REQUESTS, IN_FLIGHT).await?;
            let ready = worker.ready.as_secs_f64() * 1e3;
            eprintln!("{routes} routes: ready after {ready:.0} ms, {resident:.1} MB, {round}");
            points.add(routes as f64, &[ready, resident, round.cpu_micros()]);
            worker.stop().await?;
        }
    }
    let curves = [
        ("routes.ready", Kind::Cost, "ms from start to ready"),
        ("routes.memory", Kind::Cost, "MB resident before a message"),
        ("routes.cpu", Kind::Cost, "µs CPU per message of one"),
    ];
    points.curves(figures, "routes", &curves);
    server.stop().await;
    Ok(())
}

async fn wait_until_served(load: &Load, subject: &str) -> anyhow::Result<()> {
    for _ in 0..RETRIES {
        if ask(load, subject, 0).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(RETRY).await;
    }
    anyhow::bail!("{subject} is not served in time")
}

async fn put(catalog: &Catalog, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
    let puts = stream::iter(numbers).map(|number| async move {
        let text = format!(r#"{{"mode":"request","model":"{MODEL}","subject":"sensors.{number}.*"}}"#);
        let route = Route::parse(text.as_bytes()).map_err(|problems| anyhow::anyhow!("a route: {problems}"))?;
        catalog.put_route(&format!("r{number:04}").parse::<RouteName>()?, &route).await?;
        anyhow::Ok(())
    });
    puts.buffer_unordered(PUTS_AT_ONCE).try_collect::<Vec<()>>().await?;
    Ok(())
}
