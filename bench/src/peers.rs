//! The worker beside each peer, one after the other: at equal concurrency, one at a time, and at a load that both can carry.
//!
//! Promises: only the worker and one peer run at a time, and they take turns on the same payloads; ratios are between neighbours in
//! time. Processor time is that of all that a peer starts. Every answer is checked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use futures_util::stream;
use inferbus::dev_server::DevServer;

use crate::figures::{Figure, Figures};
use crate::load::{Load, Round};
use crate::pace;
use crate::peer::{KINDS, Kind, Peer, Speaks};
use crate::process;
use crate::root;
use crate::workloads::Workload;

/// How long a round of one contestant is to take.
const ROUND: Duration = Duration::from_secs(2);
/// Requests before the rounds for each in flight, so that every process of a peer has loaded its model; a rate is guessed by it.
const WARM_UP: usize = 30;
const LEAST: usize = 50;
const MOST: usize = 200_000;
const IN_FLIGHT: usize = 64;
/// Of the slower one's rate.
const LOAD: f64 = 0.7;
/// Of the rate of an open loop that both must reach; who falls behind is not compared at that load.
const REACHED: f64 = 0.97;
/// Of an open loop, where more wait only if a contestant falls behind; their wait counts.
const OPEN_IN_FLIGHT: usize = 512;

/// Whether these are the right results of that request.
type Check = dyn Fn(usize, &[Bytes]) -> anyhow::Result<()>;

/// What everybody is to do.
pub struct Job {
    pub workload: String,
    /// The subject's last token.
    pub model: String,
    pub folder: PathBuf,
    pub in_flight: usize,
    pub payloads: Vec<Bytes>,
    /// Results of a request that are messages of their own; its reply is empty then.
    pub extra: usize,
    check: Box<Check>,
}

impl Job {
    pub fn digits() -> anyhow::Result<Self> {
        let (payloads, labels): (Vec<Bytes>, Vec<u64>) = Load::pictures()?.into_iter().unzip();
        let check = move |number: usize, results: &[Bytes]| {
            let [result] = results else { anyhow::bail!("{} results, not one", results.len()) };
            let result: serde_json::Value = serde_json::from_slice(result)?;
            ensure!(result["label"].as_u64() == Some(labels[number % labels.len()]), "a wrong label: {result}");
            Ok(())
        };
        let folder = root().join("plugins/examples/digits/bundle-1.0.0");
        let (workload, model) = ("tiny".into(), "digits".into());
        Ok(Self { workload, model, folder, in_flight: IN_FLIGHT, payloads, extra: 0, check: Box::new(check) })
    }

    pub fn of(workload: Workload) -> anyhow::Result<Self> {
        let (kind, payloads, extra) = (workload.kind, workload.payloads.clone(), workload.extra());
        let check = move |number: usize, results: &[Bytes]| workload.check(number, results, true);
        let (name, folder) = (kind.name.to_owned(), kind.python_folder());
        let (model, in_flight, check) = (name.clone(), kind.in_flight, Box::new(check));
        Ok(Self { model, workload: name, folder, in_flight, payloads, extra, check })
    }

    /// Why a peer cannot do it, if it cannot.
    fn lack(&self, kind: &Kind) -> Option<String> {
        let unfit = self.extra > 0 && kind.speaks != Speaks::Nats;
        unfit.then(|| format!("it has no way to publish the {} results of a message", self.extra))
    }
}

/// A round and what the server needed for it.
struct Sample {
    round: Round,
    server: Duration,
}

impl Sample {
    fn server_micros(&self) -> f64 {
        self.server.as_secs_f64() * 1e6 / self.round.requests() as f64
    }
}

/// The rounds of one contestant, the worker or a peer.
#[derive(Default)]
struct Rounds {
    many: Vec<Sample>,
    one: Vec<Sample>,
    open: Vec<Sample>,
}

/// Measures the peers that are named, or all.
pub async fn measure(
    job: &Job,
    server: &DevServer,
    names: &[String],
    rounds: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let unknown = names.iter().find(|name| KINDS.iter().all(|kind| kind.name != **name));
    let known = || KINDS.each_ref().map(|kind| kind.name).join(", ");
    ensure!(unknown.is_none(), "there is no peer {unknown:?}: there are {}", known());
    let contest = Contest { job, server: server.process().context("the server has ended")? };
    let ours = Peer::worker(server.url(), &job.model, job.extra).await?;
    for kind in KINDS.iter().filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name)) {
        if let Some(lack) = kind.lack().or_else(|| job.lack(kind)) {
            figures.note(format!("peer {} on {}: {lack}", kind.name, job.workload));
            continue;
        }
        // A stranger that fails is told of, and the others are measured.
        if let Err(fault) = contest.against(kind, &ours, server.url(), rounds, figures).await {
            eprintln!("{}: {fault:#}", kind.name);
            figures.note(format!("peer {} on {}: {fault:#}", kind.name, job.workload));
        }
    }
    ours.stop().await
}

struct Contest<'a> {
    job: &'a Job,
    server: u32,
}

impl Contest<'_> {
    async fn against(
        &self,
        kind: &Kind,
        ours: &Peer,
        server: &str,
        rounds: usize,
        figures: &mut Figures,
    ) -> anyhow::Result<()> {
        let theirs = Peer::start(kind, server, self.job).await?;
        let both = [ours, &theirs];
        let mut ran: [Rounds; 2] = Default::default();
        let (mut many, mut one, mut behind) = ([0.0; 2], [0.0; 2], 0);
        for (at, peer) in both.into_iter().enumerate() {
            many[at] = self.closed(peer, self.job.in_flight, self.job.in_flight * WARM_UP).await?.round.rate();
            one[at] = self.closed(peer, 1, LEAST).await?.round.rate();
        }
        for number in 1..=rounds {
            for (at, peer) in both.into_iter().enumerate() {
                let sample = self.closed(peer, self.job.in_flight, requests(many[at])).await?;
                eprintln!("round {number}: {:15} {}", peer.name, sample.round);
                many[at] = sample.round.rate();
                ran[at].many.push(sample);
            }
            for (at, peer) in both.into_iter().enumerate() {
                let sample = self.closed(peer, 1, requests(one[at])).await?;
                one[at] = sample.round.rate();
                ran[at].one.push(sample);
            }
            let rate = LOAD * many[0].min(many[1]);
            let [us, them] = [self.open(both[0], rate).await?, self.open(both[1], rate).await?];
            if us.round.rate().min(them.round.rate()) < REACHED * rate {
                behind += 1;
                continue;
            }
            ran[0].open.push(us);
            ran[1].open.push(them);
        }
        theirs.stop().await?;
        if behind > 0 {
            let name = format!("peer {} on {}", kind.name, self.job.workload);
            figures.note(format!(
                "{name}: in {behind} of {rounds} rounds one of both fell behind the open loop, which do not count"
            ));
        }
        Report { kind, workload: &self.job.workload, ours: &ran[0], theirs: &ran[1] }.add(figures);
        Ok(())
    }

    async fn closed(&self, peer: &Peer, in_flight: usize, count: usize) -> anyhow::Result<Sample> {
        self.ready(peer, in_flight).await?;
        let due = stream::iter((0..count).map(|number| (number, None)));
        self.round(peer, due, in_flight).await
    }

    async fn open(&self, peer: &Peer, rate: f64) -> anyhow::Result<Sample> {
        self.ready(peer, self.job.in_flight).await?;
        let due = stream::StreamExt::map(pace::at(rate, requests(rate)), |(number, due)| (number, Some(due)));
        self.round(peer, due, OPEN_IN_FLIGHT).await
    }

    /// Opens the connections of a round before its clock runs.
    async fn ready(&self, peer: &Peer, in_flight: usize) -> anyhow::Result<()> {
        peer.reconnect();
        let due = stream::iter((0..in_flight).map(|number| (number, None)));
        self.round(peer, due, in_flight).await.map(drop)
    }

    /// A latency begins when the request was due, where that is told, and when it was sent otherwise.
    async fn round(
        &self,
        peer: &Peer,
        due: impl stream::Stream<Item = (usize, Option<Instant>)>,
        in_flight: usize,
    ) -> anyhow::Result<Sample> {
        let process = peer.process()?;
        let before = process::cpu(self.server)?;
        let ask = |(number, due): (usize, Option<Instant>)| async move {
            let payload = self.job.payloads[number % self.job.payloads.len()].clone();
            let started = due.unwrap_or_else(Instant::now);
            let results = peer.ask(payload).await?;
            let latency = started.elapsed();
            (self.job.check)(number, &results).with_context(|| format!("{}, request {number}", peer.name))?;
            Ok(latency)
        };
        let round = Round::measured(|| process::tree_cpu(process), due, in_flight, ask).await?;
        Ok(Sample { round, server: process::cpu(self.server)?.saturating_sub(before) })
    }
}

fn requests(rate: f64) -> usize {
    ((rate * ROUND.as_secs_f64()) as usize).clamp(LEAST, MOST)
}

/// What a peer's rounds say.
struct Report<'a> {
    kind: &'a Kind,
    workload: &'a str,
    ours: &'a Rounds,
    theirs: &'a Rounds,
}

type Of = fn(&Sample) -> f64;
type Way = fn(&Rounds) -> &[Sample];

const VALUES: [(&str, &str, Of); 4] = [
    ("cpu_us", "µs per message", |sample| sample.round.cpu_micros()),
    ("rate", "requests/s", |sample| sample.round.rate()),
    ("p50_us", "µs", |sample| sample.round.latency(0.5)),
    ("p99_us", "µs", |sample| sample.round.latency(0.99)),
];

impl Report<'_> {
    fn add(&self, figures: &mut Figures) {
        let prefix = match self.workload {
            "tiny" => format!("peer.{}", self.kind.name),
            other => format!("peer.{}.{other}", self.kind.name),
        };
        let ways: [(&str, Way); 3] =
            [("", |rounds| &rounds.many), (".one", |rounds| &rounds.one), (".open", |rounds| &rounds.open)];
        for (way, of) in ways {
            let (ours, theirs) = (of(self.ours), of(self.theirs));
            if ours.is_empty() {
                continue;
            }
            self.ratios(&format!("{prefix}{way}"), ours, theirs, figures);
            for (whose, samples) in [("", theirs), (".ours", ours)] {
                for (what, unit, value) in VALUES {
                    let name = format!("{prefix}{way}{whose}.{what}");
                    figures.add(Figure::of(&name, unit, samples.iter().map(value)));
                }
            }
        }
    }

    fn ratios(&self, prefix: &str, ours: &[Sample], theirs: &[Sample], figures: &mut Figures) {
        let mut ratio = |what: &str, unit: &str, us: Of, them: Of| {
            let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| us(ours) / them(theirs));
            figures.add(Figure::of(&format!("{prefix}.{what}"), unit, ratios));
        };
        let [cpu, rate, _, p99] = VALUES.map(|(_, _, value)| value);
        let with_server: Of = |sample| sample.round.cpu_micros() + sample.server_micros();
        let on_nats = self.kind.speaks == Speaks::Nats;
        ratio("cpu_ratio", "× theirs, below 1 is ahead", cpu, cpu);
        let them = if on_nats { with_server } else { cpu };
        ratio("cpu_with_server_ratio", "× theirs, nats-server included", with_server, them);
        ratio("p99_ratio", "× theirs, below 1 is ahead", p99, p99);
        ratio("rate_ratio", "× theirs, above 1 is ahead", rate, rate);
        let server = |samples: &[Sample], whose: &str| {
            let name = format!("{prefix}{whose}.server_cpu_us");
            Figure::of(&name, "µs per message, nats-server", samples.iter().map(Sample::server_micros))
        };
        if on_nats {
            figures.add(server(theirs, ""));
        }
        figures.add(server(ours, ".ours"));
    }
}
