//! Over the workers of one group: throughput, and their total processor time. With more workers than cores, the curves
//! show their mutual costs.

use futures_util::future::try_join_all;

use super::points::{Points, ROUNDS};
use super::site::{MODEL, ask, site};
use crate::load::{Load, Round};
use crate::machine::process;
use crate::opponents::contestant::Contestant;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;

const WORKERS: [usize; 4] = [1, 2, 4, 8];
const REQUESTS: usize = 30_000;
const IN_FLIGHT: usize = 128;

/// Each round starts new workers: those of another point would take its messages.
pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let (server, client, _catalog) = site().await?;
    let (load, subject) = (&Load::new(client, 0, 0)?, &format!("infer.{MODEL}"));
    let mut points = Points::default();
    for _ in 0..ROUNDS {
        for count in WORKERS {
            let workers = try_join_all((0..count).map(|_| Contestant::worker(server.url()))).await?;
            let requests = |requests| {
                Round::run(std::process::id(), requests, IN_FLIGHT, move |number| ask(load, subject, number))
            };
            requests(REQUESTS / 10).await?;
            let before = cpu(&workers)?;
            let round = requests(REQUESTS).await?;
            let cost = (cpu(&workers)? - before) * 1e6 / REQUESTS as f64;
            eprintln!("{count} workers: {:.0} requests/s, {cost:.1} µs CPU per message", round.rate());
            points.add(count as f64, &[round.rate(), cost]);
            try_join_all(workers.into_iter().map(Contestant::stop)).await?;
        }
    }
    let curves =
        [("workers.rate", Kind::Gain, "requests/s"), ("workers.cpu", Kind::Cost, "µs CPU per message, all workers")];
    points.curves(figures, "workers", &curves);
    server.stop().await;
    Ok(())
}

/// Seconds of all workers.
fn cpu(workers: &[Contestant]) -> anyhow::Result<f64> {
    workers.iter().map(|worker| Ok(process::cpu(worker.process()?)?.as_secs_f64())).sum()
}
