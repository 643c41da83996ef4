//! Routes of mode `stream`: the worker, a bare loop and a worker with fewer confirmations in turn; and two workers
//! against one.

use std::time::Duration;

use anyhow::ensure;
use async_nats::jetstream::stream::{Info, RawMessageErrorKind};
use async_nats::jetstream::{self, Context};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use inferbus_catalog::{Catalog, Mode, Priority, Route, RouteName, StreamOptions};

use crate::load::Load;
use crate::machine::process;
use crate::opponents::contestant::{Contestant, inferbus, worker_arguments};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::workloads::burn;

const STREAM: &str = "BENCH";
const RESULTS: &str = "BENCH_RESULTS";
const ROUTE: &str = "bench";
const ROUNDS: usize = 5;
const MESSAGES: usize = 30_000;
const BURNING: usize = 1_500;
/// The interval of checks for all results.
const CHECK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// One drain of a filled stream.
struct Drain {
    rate: f64,
    cpu_us: f64,
}

/// A stream and its results, recreated for every drain.
struct Bench<'a> {
    load: &'a Load,
    server: &'a str,
    context: Context,
    catalog: Catalog,
}

pub async fn measure(load: &Load, server: &str, figures: &mut Figures) -> anyhow::Result<()> {
    let context = jetstream::new(load.client.clone());
    let catalog = Catalog::open(load.client.clone()).await?;
    let bench = Bench { load, server, context, catalog };
    bench.confirmations(figures).await?;
    bench.workers(figures).await
}

impl Bench<'_> {
    async fn confirmations(&self, figures: &mut Figures) -> anyhow::Result<()> {
        let names = ["worker", "bare loop", "checked loop", "without PubAck", "without checked ack"];
        let mut rates: [Vec<f64>; 5] = Default::default();
        let mut costs: [Vec<f64>; 5] = Default::default();
        for round in 1..=ROUNDS {
            for (number, name) in names.into_iter().enumerate() {
                self.fill("digits", MESSAGES).await?;
                let started = match number {
                    0 => Contestant::worker(self.server).await,
                    1 => Contestant::bare_loop(self.server, "plain").await,
                    2 => Contestant::bare_loop(self.server, "checked").await,
                    3 => Contestant::careless(self.server, "stored").await,
                    _ => Contestant::careless(self.server, "acknowledged").await,
                };
                let drain = self.drain(vec![started?], MESSAGES).await?;
                eprintln!(
                    "round {round}: {name:20} {:8.0} messages/s, {:6.1} µs CPU per message",
                    drain.rate, drain.cpu_us
                );
                rates[number].push(drain.rate);
                costs[number].push(drain.cpu_us);
            }
        }
        let [worker, bare, checked, unstored, unchecked] = &rates;
        figures.add(Figure::of("stream.rate", "messages/s", worker.clone()));
        figures.add(Figure::of("stream.cpu_us", "µs per message", costs[0].clone()));
        figures.add(Figure::of("stream.bare_loop_rate", "messages/s", bare.clone()));
        let ratio =
            |over: &[f64], under: &[f64]| over.iter().zip(under).map(|(over, under)| over / under).collect::<Vec<_>>();
        figures.add(Figure::of("stream.vs_bare_loop", "× stream.bare_loop_rate", ratio(worker, bare)));
        figures.add(Figure::of(
            "stream.vs_checked_loop",
            "× the rate of a bare loop with checked acks",
            ratio(worker, checked),
        ));
        figures.add(Figure::of("stream.without_puback", "× stream.rate", ratio(unstored, worker)));
        figures.add(Figure::of("stream.without_checked_ack", "× stream.rate", ratio(unchecked, worker)));
        Ok(())
    }

    /// With one lane per worker, each worker uses one processor.
    async fn workers(&self, figures: &mut Figures) -> anyhow::Result<()> {
        burn::push(&self.catalog).await?;
        let mut ratios = Vec::new();
        for round in 1..=ROUNDS {
            let mut rates = Vec::new();
            for count in [1, 2] {
                self.fill(burn::MODEL, BURNING).await?;
                let mut workers = Vec::new();
                for _ in 0..count {
                    workers.push(Contestant::one_lane(self.server).await?);
                }
                rates.push(self.drain(workers, BURNING).await?.rate);
            }
            eprintln!("round {round}: one worker {:6.0} messages/s, two workers {:6.0}", rates[0], rates[1]);
            ratios.push(rates[1] / rates[0]);
        }
        figures.add(Figure::of("stream.two_workers", "× the rate of one, compute-bound", ratios));
        Ok(())
    }

    /// Fills a stream with messages, and adds a route for a later worker.
    async fn fill(&self, model: &str, messages: usize) -> anyhow::Result<()> {
        for name in [STREAM, RESULTS] {
            // It may not exist yet.
            let _ = self.context.delete_stream(name).await;
        }
        let config = |name: &str, subject: &str| jetstream::stream::Config {
            name: name.into(),
            subjects: vec![subject.into()],
            ..Default::default()
        };
        self.context.create_stream(config(STREAM, "bench.in.*")).await?;
        self.context.create_stream(config(RESULTS, "bench.out.>")).await?;
        let published: Vec<_> = stream::iter(0..messages)
            .map(|number| async move {
                let sent = self.context.publish("bench.in.0", self.load.payload(number).0).await?;
                anyhow::Ok(sent.await?)
            })
            .buffer_unordered(256)
            .try_collect()
            .await?;
        ensure!(published.len() == messages, "some messages were not stored");
        let mut options = StreamOptions::new(STREAM.parse()?);
        options.results = Some(RESULTS.parse()?);
        let route = Route {
            subject: "bench.in.*".into(),
            model: model.parse()?,
            output: Some("bench.out.$1".into()),
            priority: Priority::Normal,
            mode: Mode::Stream(options),
        };
        let name: RouteName = ROUTE.parse()?;
        self.catalog.put_route(&name, &route).await?;
        Ok(())
    }

    /// Waits for the result of every message. The duration is taken from the results' timestamps.
    async fn drain(&self, workers: Vec<Contestant>, messages: usize) -> anyhow::Result<Drain> {
        let started = tokio::time::Instant::now();
        while self.results().await?.state.messages < messages as u64 {
            ensure!(started.elapsed() < PATIENCE, "the stream was not drained in time");
            tokio::time::sleep(CHECK).await;
        }
        let mut cpu = Duration::ZERO;
        for worker in &workers {
            cpu += process::cpu(worker.process()?)?;
        }
        let info = self.results().await?;
        ensure!(info.state.messages == messages as u64, "{} results of {messages} messages", info.state.messages);
        let took = (self.stored_at(info.state.last_sequence).await? - self.stored_at(1).await?) / 1e9;
        for worker in workers {
            worker.stop().await?;
        }
        Ok(Drain { rate: (messages - 1) as f64 / took, cpu_us: cpu.as_secs_f64() * 1e6 / messages as f64 })
    }

    async fn results(&self) -> anyhow::Result<Info> {
        Ok(self.context.get_stream_no_info(RESULTS).await?.get_info().await?)
    }

    async fn stored_at(&self, sequence: u64) -> anyhow::Result<f64> {
        let results = self.context.get_stream_no_info(RESULTS).await?;
        let message = results.get_raw_message(sequence).await;
        let message = message.map_err(|fault| match fault.kind() {
            RawMessageErrorKind::NoMessageFound => anyhow::anyhow!("result {sequence} is missing"),
            _ => fault.into(),
        })?;
        Ok(std::time::SystemTime::from(message.time).duration_since(std::time::UNIX_EPOCH)?.as_nanos() as f64)
    }
}

impl Contestant {
    async fn bare_loop(server: &str, acks: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = tokio::process::Command::new(&program);
        command.args(["bare-loop", server, STREAM, acks]);
        Self::spawn("bare loop", "", false, &mut command, &program).await
    }

    /// A worker without one of the confirmations.
    async fn careless(server: &str, without: &str) -> anyhow::Result<Self> {
        let mut command = tokio::process::Command::new(std::env::current_exe()?);
        command.args(["careless-worker", without]).args(worker_arguments(server));
        Self::spawn_worker("careless", "", &mut command).await
    }

    async fn one_lane(server: &str) -> anyhow::Result<Self> {
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(server)).args(["--lanes", "1"]);
        Self::spawn_worker("one lane", "", &mut command).await
    }
}
