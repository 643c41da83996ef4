//! From a command to its measurements, and from their figures to the report.
//!
//! Guarantees: a failed measurement does not lose the figures of earlier ones.

use inferbus::dev_server::{DevServer, Settings};
use inferbus::stream::context::Confirmations;
use inferbus_bench::helpers::{answer, bare_loop, echo, native, worker as helper_worker};

use crate::command::{Command, FULL, Helper, Options, Output, PEERS};
use crate::floors::{bare_ort, parts};
use crate::growth;
use crate::load::Load;
use crate::opponents::peers::{self, workload::PeerWorkload};
use crate::opponents::{contestant, sandbox_peers};
use crate::paper::figures::Figures;
use crate::paper::{report, setting};
use crate::project::root;
use crate::scale;
use crate::subjects::swap::{first_result, many_bumps, sizes};
use crate::subjects::{
    allocations, batching, compile_bomb, engine, large_models, sandbox, start, stream, worker, workloads,
};
use crate::workloads::kinds::{KINDS, Kind, Workload, named};

const ROUNDS: usize = 7;
/// Beside a peer: two contestants take six turns in each round.
const PEER_ROUNDS: usize = 3;
const STEADY_BUMPS: usize = 1000;
const WORKLOAD_ROUNDS: usize = 3;

pub async fn run(command: Option<Command>, options: &Options) -> anyhow::Result<()> {
    match command {
        Some(Command::Helper(helper)) => return help(*helper).await,
        Some(Command::Scale { table: true, .. }) => {
            print!("{}", scale::table::text());
            return Ok(());
        }
        _ => {}
    }
    let output = Command::output(command.as_ref());
    let mut bench = Bench { options, figures: Figures::default() };
    let measured = bench.measure(command).await;
    if let Some(output) = &output {
        bench.write(output)?;
    }
    bench.figures.print();
    measured
}

async fn help(helper: Helper) -> anyhow::Result<()> {
    match helper {
        Helper::BareFirst { model } => println!("{}", bare_ort::first(&model)?),
        Helper::InstanceMemory => println!("{}", sandbox::resident_per_instance()?),
        Helper::Prepare => KINDS.iter().try_for_each(Kind::prepare)?,
        Helper::Echo { server, subject } => echo::run(&server, &subject).await?,
        Helper::Answer { server, subject, output, amount } => answer::run(&server, &subject, &output, amount).await?,
        Helper::BareLoop { server, stream, acks } => bare_loop::run(&server, &stream, acks == "checked").await?,
        Helper::CarelessWorker { without, config } => {
            let promises = Promises { stored: without != "stored", acknowledged: without != "acknowledged" };
            helper_worker::run(config, |loader| loader.promises = promises).await?;
        }
        Helper::NativeWorker { workload, config } => {
            anyhow::ensure!(native::choose(&workload), "the workload `{workload}` does not exist");
            helper_worker::run(config, |loader| loader.transform = |stage, _| native::transform(stage)).await?;
        }
    }
    Ok(())
}

/// A server with a client and the load of the digits.
struct Digits {
    server: DevServer,
    load: Load,
}

impl Digits {
    async fn start(options: &Options) -> anyhow::Result<Self> {
        let server = digits_server().await?;
        let client = async_nats::connect(server.url()).await?;
        let load = Load::new(client, options.in_flight, options.requests)?;
        Ok(Self { server, load })
    }
}

/// A server with both versions of the digit model in its catalog. The first one is active.
async fn digits_server() -> anyhow::Result<DevServer> {
    let server = DevServer::start(Settings::default()).await?;
    contestant::push(server.url(), "1.0.0", true).await?;
    contestant::push(server.url(), "1.1.0", false).await?;
    Ok(server)
}

struct Bench<'a> {
    options: &'a Options,
    figures: Figures,
}

impl Bench<'_> {
    async fn measure(&mut self, command: Option<Command>) -> anyhow::Result<()> {
        match command {
            None => self.everything(start::SHORT, sizes::SHORT).await,
            Some(Command::Full) => self.full().await,
            Some(Command::Sandbox) => sandbox::measure(&mut self.figures),
            Some(Command::Engine) => self.engine().await,
            Some(Command::Batching) => self.batching().await,
            Some(Command::Allocations) => self.allocations().await,
            Some(Command::Bumps { bumps }) => self.bumps(bumps).await,
            Some(Command::Peers { names, workload }) => self.peers(&names, &workload).await,
            Some(Command::SandboxPeers) => sandbox_peers::measure(&mut self.figures),
            Some(Command::Growth { names }) => growth::measure(&names, &mut self.figures).await,
            Some(Command::Start { short }) => {
                start::measure(if short { start::SHORT } else { start::LONG }, &mut self.figures).await
            }
            Some(Command::Swap { short }) => {
                sizes::measure(if short { sizes::SHORT } else { sizes::LONG }, &mut self.figures).await
            }
            Some(Command::Scale { short, .. }) => scale::measure(short, &mut self.figures).await,
            Some(Command::Stream) => self.stream().await,
            Some(Command::Workloads { names }) => self.workloads(&names).await,
            Some(Command::Helper(_)) => Ok(()),
        }
    }

    /// The measurements of `make bench`.
    async fn everything(&mut self, start: &[start::Step], swaps: usize) -> anyhow::Result<()> {
        self.engine_alone()?;
        self.worker().await?;
        self.batching().await?;
        self.large_models().await?;
        start::measure(start, &mut self.figures).await?;
        sizes::measure(swaps, &mut self.figures).await?;
        self.workloads(&[]).await
    }

    /// All measurements. They take hours, so the figures are written in between.
    async fn full(&mut self) -> anyhow::Result<()> {
        self.everything(start::LONG, sizes::LONG).await?;
        self.write(&FULL)?;
        growth::measure(&[], &mut self.figures).await?;
        self.write(&FULL)?;
        scale::measure(false, &mut self.figures).await?;
        self.write(&FULL)?;
        sandbox_peers::measure(&mut self.figures)?;
        self.beside_peers(&[], &[], Some(&FULL)).await
    }

    fn engine_alone(&mut self) -> anyhow::Result<()> {
        sandbox::measure(&mut self.figures)?;
        engine::measure(&mut self.figures)
    }

    async fn engine(&mut self) -> anyhow::Result<()> {
        engine::measure(&mut self.figures)?;
        self.large_models().await
    }

    async fn worker(&mut self) -> anyhow::Result<()> {
        let floor = parts::measure()?;
        let Digits { server, load } = Digits::start(self.options).await?;
        let (rounds, figures) = (self.options.rounds.unwrap_or(ROUNDS), &mut self.figures);
        let worker = worker::measure(&load, server.url(), rounds, floor, figures).await?;
        allocations::measure(&load, server.url()).await?.into_iter().for_each(|figure| figures.add(figure));
        figures.add(first_result::measure(&load, &worker, self.options.bumps).await?);
        figures.add(compile_bomb::measure(&load, &worker, rounds).await?);
        worker.stop().await?;
        many_bumps::measure(&load, server.url(), STEADY_BUMPS, many_bumps::Kind::EachItsOwn, figures).await?;
        stream::measure(&load, server.url(), figures).await?;
        server.stop().await;
        Ok(())
    }

    /// On a separate server: other workers would load these models, too.
    async fn batching(&mut self) -> anyhow::Result<()> {
        let server = digits_server().await?;
        batching::measure(&async_nats::connect(server.url()).await?, server.url(), &mut self.figures).await?;
        server.stop().await;
        Ok(())
    }

    async fn large_models(&mut self) -> anyhow::Result<()> {
        let server = digits_server().await?;
        large_models::measure(&async_nats::connect(server.url()).await?, server.url(), &mut self.figures).await?;
        server.stop().await;
        Ok(())
    }

    async fn allocations(&mut self) -> anyhow::Result<()> {
        let Digits { server, load } = Digits::start(self.options).await?;
        let figures = allocations::measure(&load, server.url()).await?;
        figures.into_iter().for_each(|figure| self.figures.add(figure));
        server.stop().await;
        Ok(())
    }

    async fn bumps(&mut self, bumps: usize) -> anyhow::Result<()> {
        let Digits { server, load } = Digits::start(self.options).await?;
        for kind in [many_bumps::Kind::Two, many_bumps::Kind::EachItsOwn] {
            many_bumps::measure(&load, server.url(), bumps, kind, &mut self.figures).await?;
        }
        server.stop().await;
        Ok(())
    }

    async fn stream(&mut self) -> anyhow::Result<()> {
        let Digits { server, load } = Digits::start(self.options).await?;
        stream::measure(&load, server.url(), &mut self.figures).await?;
        server.stop().await;
        Ok(())
    }

    async fn workloads(&mut self, names: &[String]) -> anyhow::Result<()> {
        workloads::measure(&named(names)?, WORKLOAD_ROUNDS, &mut self.figures).await
    }

    async fn peers(&mut self, names: &[String], workload: &[String]) -> anyhow::Result<()> {
        let is_whole = names.is_empty() && workload.is_empty();
        if is_whole {
            sandbox_peers::measure(&mut self.figures)?;
        }
        self.beside_peers(workload, names, is_whole.then_some(&PEERS)).await
    }

    /// Measures the named workloads, or all. The figures are written after each workload.
    async fn beside_peers(
        &mut self,
        names_of_workloads: &[String],
        names: &[String],
        output: Option<&Output>,
    ) -> anyhow::Result<()> {
        let named = names_of_workloads.iter().map(|name| Kind::find(name)).collect::<anyhow::Result<Vec<_>>>()?;
        for kind in if named.is_empty() { KINDS.iter().collect() } else { named } {
            let (server, workload) = if kind.name == KINDS[0].name {
                (digits_server().await?, PeerWorkload::digits()?)
            } else {
                let workload = PeerWorkload::of(Workload::load(kind, &bare_ort::runtime()?)?)?;
                (workloads::server(kind).await?, workload)
            };
            let rounds = self.options.rounds.unwrap_or(PEER_ROUNDS);
            peers::measure(&workload, &server, names, rounds, &mut self.figures).await?;
            server.stop().await;
            if let Some(output) = output {
                self.write(output)?;
            }
        }
        Ok(())
    }

    fn write(&self, output: &Output) -> anyhow::Result<()> {
        let folder = root().join("bench/results");
        self.figures.write(&folder.join(output.json))?;
        report::write(&self.figures, &setting::settings(), &folder.join(output.page))
    }
}
