//! Over the size of a message: processor time and latency, with one in flight.
//!
//! The model returns the last number of its input: little work, but proof of a complete input.

use anyhow::ensure;
use bytes::Bytes;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::Catalog;
use inferbus_testkit::onnx::{F32, Graph, Size, int, integers, node, port};

use super::points::{Points, ROUNDS};
use super::site::timed;
use crate::load::Round;
use crate::opponents::contestant::Contestant;
use crate::paper::curve::Kind;
use crate::paper::figures::Figures;
use crate::workloads::models;

const SIZES: [usize; 9] = [64, 512, 4 << 10, 32 << 10, 128 << 10, 512 << 10, 2 << 20, 4 << 20, 8 << 20];
/// Bytes of a frame before its numbers.
const FRAME: usize = 48;
/// Bytes and requests of a round. /proc counts processor time in steps of 10 ms, so rounds must be long.
const BYTES: usize = 1 << 30;
const MOST: usize = 10_000;
const LEAST: usize = 100;
/// The server's limit, for the largest message with its headers.
const SERVER: &str = "max_payload: 16MB\n";
const MODEL: &str = "last";

pub async fn measure(figures: &mut Figures) -> anyhow::Result<()> {
    let config = tempfile::NamedTempFile::new()?;
    std::fs::write(config.path(), SERVER)?;
    let server = DevServer::start(Settings { config: Some(config.path()), ..Settings::default() }).await?;
    let client = async_nats::connect(server.url()).await?;
    models::push(&Catalog::create(client.clone()).await?, MODEL, &last(), "").await?;
    let worker = Contestant::worker(server.url()).await?;
    let process = worker.process()?;
    let payloads = SIZES.map(payload).into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let subject = format!("infer.{MODEL}");
    let (client, subject) = (&client, &subject);
    let mut points = Points::default();
    for number in 0..=ROUNDS {
        for (payload, expected) in &payloads {
            let ask = async |_| {
                let (reply, latency) = timed(client, subject, payload.clone()).await?;
                models::check(&reply.payload, &[*expected], subject)?;
                anyhow::Ok(latency)
            };
            let requests = (BYTES / payload.len()).clamp(LEAST, MOST);
            let round = Round::run(process, requests, 1, ask).await?;
            eprintln!("{:9} bytes: {round}", payload.len());
            // The first round is a warm-up.
            if number > 0 {
                points.add(payload.len() as f64, &[round.cpu_micros(), round.latency(0.5)]);
            }
        }
    }
    let curves = [("payload.cpu", Kind::Cost, "µs CPU per message"), ("payload.p50", Kind::Cost, "µs, p50")];
    points.curves(figures, "bytes of a message", &curves);
    worker.stop().await?;
    server.stop().await;
    Ok(())
}

/// A message of this size, and the correct answer.
fn payload(size: usize) -> anyhow::Result<(Bytes, f32)> {
    let row: Vec<f32> = models::numbers(size as u64).take((size - FRAME) / size_of::<f32>()).collect();
    let payload = models::payload(&row)?;
    ensure!(payload.len() == size, "{} bytes instead of {size}", payload.len());
    Ok((payload, row.last().copied().unwrap_or_default()))
}

/// `x` of `[batch, open]` to its last column.
fn last() -> Vec<u8> {
    let open = |name| Size::Open(name);
    Graph {
        constants: vec![integers("at", &[1], &[-1])],
        nodes: vec![node("Gather", &[models::INPUT, "at"], &["y"], &[int("axis", 1)])],
        inputs: vec![port(models::INPUT, F32, &[open("batch"), open("width")])],
        outputs: vec![port("y", F32, &[open("batch"), Size::Fixed(1)])],
        ..Graph::default()
    }
    .model()
}
