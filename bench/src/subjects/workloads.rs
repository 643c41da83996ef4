//! Each workload under load: the worker, the native worker, one file of Python and the floor of the bus in turn.
//!
//! Guarantees: contestants and the bare model alternate round by round. Ratios compare these neighbours. Every answer
//! is checked.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use async_nats::Client;
use bytes::Bytes;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_abi::frame::{self, DataType, Tensor};
use inferbus_bench::helpers::answer::Amount;
use inferbus_engine::Runtime;
use inferbus_pipeline::Transform;
use ort::session::Session;
use ort::value::TensorRef;
use tokio::process::Command;

use crate::floors::bare_ort;
use crate::load::{Round, result_of};
use crate::machine::clock::micros;
use crate::opponents::collector::Collector;
use crate::opponents::contestant::{Contestant, inferbus, worker_arguments};
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;
use crate::project::root;
use crate::workloads::kinds::{FAN_OUT, Kind, Stages, Workload};

/// The approximate duration of a round.
const ROUND: Duration = Duration::from_millis(1500);
/// Trial requests per request in flight, for an estimate of the rate.
const TRIAL: usize = 4;
/// The duration of the bare model's round.
const BARE: Duration = Duration::from_millis(300);
/// Subjects and outputs of the other contestants.
const PEER: (&str, &str) = ("peer", "peer-results");
const FLOOR: (&str, &str) = ("floor", "floor-results");

pub async fn measure(kinds: &[&'static Kind], rounds: usize, figures: &mut Figures) -> anyhow::Result<()> {
    let runtime = bare_ort::runtime()?;
    for kind in kinds {
        let workload = Workload::load(kind, &runtime)?;
        Contest::start(&workload, &runtime).await?.run(rounds, figures).await?;
    }
    Ok(())
}

/// All contestants of one workload.
struct Contest<'a> {
    workload: &'a Workload,
    bare: Bare,
    players: [Player; 4],
    /// One server for the worker and the peers. The native worker has another: it would take the same messages.
    servers: [DevServer; 2],
}

/// A contestant and the client for it.
struct Player {
    contestant: Contestant,
    client: Client,
    subject: String,
    results: Option<Collector>,
    requests: usize,
    /// The number of the next request.
    numbers: AtomicU64,
}

impl<'a> Contest<'a> {
    async fn start(workload: &'a Workload, runtime: &Runtime) -> anyhow::Result<Self> {
        let mut bare = Bare::new(workload, runtime)?;
        let (servers, kind) = ([server(workload.kind).await?, server(workload.kind).await?], workload.kind);
        let [ours, other] = servers.each_ref().map(DevServer::url);
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(ours));
        let worker = Contestant::spawn_worker("inferbus", "", &mut command).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["native-worker", "--workload", kind.name]).args(worker_arguments(other));
        let native = Contestant::spawn_worker("native", "", &mut command).await?;
        let (python, floor) = (python(ours, kind).await?, floor(ours, bare.amount()?).await?);
        let routed = |output| if kind.fans_out() { output } else { ("infer", "") };
        let players = [
            Player::new(worker, ours, workload, routed(FAN_OUT)).await?,
            Player::new(native, other, workload, routed(FAN_OUT)).await?,
            Player::new(python, ours, workload, PEER).await?,
            Player::new(floor, ours, workload, FLOOR).await?,
        ];
        Ok(Self { workload, bare, players, servers })
    }

    async fn run(mut self, rounds: usize, figures: &mut Figures) -> anyhow::Result<()> {
        let name = self.workload.kind.name;
        for player in &mut self.players {
            player.warm_up(self.workload).await?;
        }
        let (mut ran, mut bare): ([Vec<Round>; 4], Vec<[f64; 2]>) = Default::default();
        for number in 1..=rounds {
            for (player, rounds) in self.players.iter().zip(&mut ran) {
                let round = player.round(self.workload, player.requests).await?;
                eprintln!("{name}, round {number}: {:8} {round}", player.contestant.name);
                rounds.push(round);
            }
            bare.push(self.bare.measure()?);
        }
        compare(name, &ran, &bare, figures);
        for player in self.players {
            player.contestant.stop().await?;
        }
        for server in self.servers {
            server.stop().await;
        }
        Ok(())
    }
}

/// A server with the workload's model and route in its catalog.
pub async fn server(kind: &Kind) -> anyhow::Result<DevServer> {
    let server = DevServer::start(Settings::default()).await?;
    let run = |command: &mut Command| {
        command.env("NATS_URL", server.url()).stdout(std::process::Stdio::null());
        command.status()
    };
    let pushed = run(inferbus()?.arg("push").arg(kind.folder()).arg("--activate")).await?;
    ensure!(pushed.success(), "the bundle {} cannot be pushed", kind.folder().display());
    if kind.fans_out() {
        let (subject, output) = (format!("{}.*", FAN_OUT.0), format!("{}.{{{{wildcard(1)}}}}", FAN_OUT.1));
        let mut add = inferbus()?;
        add.args(["route", "add", "--subject", &subject, "--model", kind.name, "--output", &output]);
        ensure!(run(&mut add).await?.success(), "the route of {} cannot be added", kind.name);
    }
    Ok(server)
}

async fn python(server: &str, kind: &Kind) -> anyhow::Result<Contestant> {
    let program = root().join(".tools/venv/bin/python");
    let mut command = Command::new(&program);
    command.arg(root().join("bench/peers/workload_worker.py")).args([server, &format!("{}.>", PEER.0), kind.name]);
    command.arg(kind.python_folder()).arg(PEER.1);
    // numpy's threads would spin, at a cost.
    command.env("OPENBLAS_NUM_THREADS", "1");
    Contestant::spawn("python", "", true, &mut command, &program).await
}

async fn floor(server: &str, amount: Amount) -> anyhow::Result<Contestant> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(&program);
    command.args(["answer", server, &format!("{}.>", FLOOR.0), FLOOR.1]);
    command.args([amount.reply, amount.extra, amount.extra_bytes].map(|number| number.to_string()));
    Contestant::spawn("bus", "", false, &mut command, &program).await
}

impl Player {
    async fn new(
        contestant: Contestant,
        server: &str,
        workload: &Workload,
        (subject, output): (&str, &str),
    ) -> anyhow::Result<Self> {
        let client = async_nats::connect(server).await?;
        let fans_out = workload.extra() > 0;
        let results = if fans_out { Some(Collector::start(&client, output).await?) } else { None };
        let subject = if fans_out { subject.to_owned() } else { format!("{subject}.{}", workload.kind.name) };
        Ok(Self { contestant, client, subject, results, requests: 0, numbers: AtomicU64::new(0) })
    }

    /// Estimates the number of requests of a round.
    async fn warm_up(&mut self, workload: &Workload) -> anyhow::Result<()> {
        let mut requests = workload.kind.in_flight * TRIAL;
        for _ in 0..2 {
            let round = self.round(workload, requests).await?;
            requests = (round.rate() * ROUND.as_secs_f64()) as usize + workload.kind.in_flight;
        }
        self.requests = requests;
        Ok(())
    }

    async fn round(&self, workload: &Workload, requests: usize) -> anyhow::Result<Round> {
        let ask = |number| self.ask(workload, number);
        Round::run(self.contestant.process()?, requests, workload.kind.in_flight, ask).await
    }

    async fn ask(&self, workload: &Workload, number: usize) -> anyhow::Result<Duration> {
        let (payload, started) = (workload.payload(number), Instant::now());
        let (reply, extra) = match &self.results {
            None => (self.client.request(self.subject.clone(), payload).await?, None),
            Some(collector) => {
                let request = self.numbers.fetch_add(1, Ordering::Relaxed);
                let results = collector.results(request, workload.extra());
                let reply = self.client.request(format!("{}.{request}", self.subject), payload).await?;
                (reply, Some(results.await?))
            }
        };
        let latency = started.elapsed();
        let reply = Bytes::copy_from_slice(result_of(&reply)?);
        let replied = (!reply.is_empty()).then_some(reply);
        let results: Vec<Bytes> = extra.into_iter().flatten().chain(replied).collect();
        if self.contestant.classifies {
            workload.check(number, &results, self.contestant.name == "python").with_context(|| self.contestant.name)?;
        }
        Ok(latency)
    }
}

/// The model with prepared input, and separate pre and post, in this process.
struct Bare {
    session: Session,
    stages: Stages,
    payloads: Vec<Bytes>,
    /// The output of pre per payload: name, shape and numbers.
    inputs: Vec<(String, Vec<i64>, Vec<f32>)>,
    /// The output of the model per payload, as a frame.
    outputs: Vec<Vec<u8>>,
}

impl Bare {
    fn new(workload: &Workload, runtime: &Runtime) -> anyhow::Result<Self> {
        let (mut session, mut stages) = (workload.kind.session(runtime)?, Stages::new(workload.kind)?);
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for payload in &workload.payloads {
            inputs.push(stages.input(payload)?);
            let numbers = stages.infer(&mut session, payload)?;
            let data: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            let shape = [1, numbers.len() as u64];
            let output = Tensor { name: "y", dtype: DataType::F32, shape: (&shape).into(), data: &data };
            outputs.push(frame::encode(&[output])?);
        }
        Ok(Self { session, stages, payloads: workload.payloads.clone(), inputs, outputs })
    }

    /// The output sizes of the first payload.
    fn amount(&mut self) -> anyhow::Result<Amount> {
        let output = self.outputs.first().context("the first payload")?;
        let reply = call(self.stages.post.as_mut(), output)?;
        let extra_bytes = reply.emits.first().map_or(0, |emit| emit.payload.len());
        Ok(Amount { reply: reply.output.map_or(0, <[u8]>::len), extra: reply.emits.len(), extra_bytes })
    }

    /// Returns microseconds of the model, and of pre and post.
    fn measure(&mut self) -> anyhow::Result<[f64; 2]> {
        let (started, mut rounds) = (Instant::now(), 0);
        let mut sums = [0.0; 2];
        while started.elapsed() < BARE {
            sums[0] += self.model()?;
            sums[1] += self.around()?;
            rounds += 1;
        }
        Ok(sums.map(|sum| sum / f64::from(rounds)))
    }

    fn model(&mut self) -> anyhow::Result<f64> {
        let mut inputs = self.inputs.iter().cycle();
        micros(self.inputs.len(), || {
            let (name, shape, numbers) = inputs.next().context("the first input")?;
            let input = TensorRef::from_array_view((shape.as_slice(), numbers.as_slice()))?;
            drop(black_box(self.session.run(vec![(name.as_str(), &*input)])?));
            Ok(())
        })
    }

    fn around(&mut self) -> anyhow::Result<f64> {
        let mut messages = self.payloads.iter().zip(&self.outputs).cycle();
        micros(self.payloads.len(), || {
            let (payload, output) = messages.next().context("the first payload")?;
            call(self.stages.pre.as_mut(), payload)?;
            call(self.stages.post.as_mut(), output)?;
            Ok(())
        })
    }
}

fn call<'a>(stage: &'a mut dyn Transform, input: &[u8]) -> anyhow::Result<inferbus_sandbox::Reply<'a>> {
    Ok(black_box(stage.call(input.len(), &mut |room| room.copy_from_slice(black_box(input)), &mut |_| {})?))
}

fn compare(name: &str, rounds: &[Vec<Round>; 4], bare: &[[f64; 2]], figures: &mut Figures) {
    let [worker, native, python, floor] = rounds;
    let mut add = |what: &str, unit: &str, values: Vec<f64>| {
        figures.add(Figure::of(&format!("workload.{name}.{what}"), unit, values));
    };
    let (cpu, p99) = (Round::cpu_micros, |round: &Round| round.latency(0.99));
    let all = |of: fn(&Round) -> f64, rounds: &[Round]| rounds.iter().map(of).collect::<Vec<_>>();
    for (who, rounds) in [("", worker), ("native_", native), ("python_", python), ("bus_", floor)] {
        add(&format!("{who}cpu_us"), "µs per message", all(cpu, rounds));
        add(&format!("{who}rate"), "requests/s", all(Round::rate, rounds));
        add(&format!("{who}p99_us"), "µs", all(p99, rounds));
    }
    add("model_us", "µs per message, bare", bare.iter().map(|[model, _]| *model).collect());
    add("pre_post_us", "µs per message, bare", bare.iter().map(|[_, around]| *around).collect());
    let ratio = |of: fn(&Round) -> f64, other: &[Round]| {
        worker.iter().zip(other).map(|(ours, theirs)| of(ours) / of(theirs)).collect::<Vec<_>>()
    };
    add("cpu_vs_native", "× native_cpu_us", ratio(cpu, native));
    add("cpu_vs_python", "× python_cpu_us", ratio(cpu, python));
    add("p99_vs_python", "× python_p99_us", ratio(p99, python));
    let floors = floor.iter().zip(bare).map(|(bus, [model, around])| cpu(bus) + model + around);
    let against = worker.iter().zip(floors).map(|(ours, floor)| cpu(ours) / floor).collect();
    add("cpu_vs_floor", "× (bus_cpu_us + model_us + pre_post_us)", against);
}
