//! Over the requests in flight: throughput, tail latency and processor time.

use super::points::{Points, ROUNDS};
use super::site::{MODEL, round, site};
use crate::load::Load;
use crate::opponents::contestant::Contestant;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;

const IN_FLIGHT: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];
/// Requests of a round with few in flight, and with many.
const FEW: usize = 5_000;
const MANY: usize = 30_000;

pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let (server, client, _catalog) = site().await?;
    let worker = Contestant::worker(server.url()).await?;
    let (load, subject) = (Load::new(client, 0, 0)?, format!("infer.{MODEL}"));
    let mut points = Points::default();
    for number in 0..=ROUNDS {
        for in_flight in IN_FLIGHT {
            let requests = if in_flight < 8 { FEW } else { MANY };
            let round = round(&load, worker.process()?, &subject, requests, in_flight).await?;
            eprintln!("{in_flight:4} in flight: {round}");
            // The first round is a warm-up.
            if number > 0 {
                points.add(in_flight as f64, &[round.rate(), round.latency(0.99), round.cpu_micros()]);
            }
        }
    }
    let curves = [
        ("in_flight.rate", Kind::Gain, "requests/s"),
        ("in_flight.p99", Kind::Cost, "µs, p99"),
        ("in_flight.cpu", Kind::Cost, "µs CPU per message"),
    ];
    points.curves(figures, "requests in flight", &curves);
    worker.stop().await?;
    server.stop().await;
    Ok(())
}
