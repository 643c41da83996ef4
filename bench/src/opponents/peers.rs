//! The worker beside each peer: at equal concurrency, one request at a time, and at a load within both capacities.
//!
//! Guarantees: only the worker and one peer run at a time, and alternate on equal payloads. Ratios compare neighbours
//! in time. Processor time includes all child processes of a peer. Every answer is checked.

pub mod kind;
mod peer;
mod process;
mod report;
pub mod workload;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures_util::stream;
use inferbus::dev_server::DevServer;

use self::kind::{KINDS, Kind};
use self::peer::Peer;
use self::report::{Report, Rounds, Sample};
use self::workload::PeerWorkload;
use crate::load::{Round, pace};
use crate::machine::process as processes;
use crate::paper::figures::Figures;

/// The approximate duration of a round.
const ROUND: Duration = Duration::from_secs(2);
/// Warm-up requests per request in flight: each process loads its model, and the rate is estimated.
const WARM_UP: usize = 30;
const LEAST: usize = 50;
const MOST: usize = 200_000;
/// The load of the open loop, as a share of the slower contestant's rate.
const LOAD: f64 = 0.7;
/// The required share of the open loop's rate. Slower rounds are not compared.
const REACHED: f64 = 0.97;
/// The bound of an open loop. It is reached only if a contestant falls behind.
const OPEN_IN_FLIGHT: usize = 512;

/// Measures the named peers, or all.
pub async fn measure(
    workload: &PeerWorkload,
    server: &DevServer,
    names: &[String],
    rounds: usize,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let unknown = names.iter().find(|name| KINDS.iter().all(|kind| kind.name != **name));
    let known = || KINDS.each_ref().map(|kind| kind.name).join(", ");
    ensure!(unknown.is_none(), "the peer {unknown:?} does not exist; known peers are {}", known());
    let contest = Contest { workload, server: server.process().context("the server has ended")? };
    let ours = Peer::worker(server.url(), &workload.model, workload.extra).await?;
    for kind in KINDS.iter().filter(|kind| names.is_empty() || names.iter().any(|name| name == kind.name)) {
        if let Some(reason) = kind.missing().or_else(|| workload.unsupported(kind)) {
            figures.note(format!("peer {} on {}: {reason}", kind.name, workload.workload));
            continue;
        }
        // A failed peer is noted. The others are still measured.
        if let Err(fault) = contest.against(kind, &ours, server.url(), rounds, figures).await {
            eprintln!("{}: {fault:#}", kind.name);
            figures.note(format!("peer {} on {}: {fault:#}", kind.name, workload.workload));
        }
    }
    ours.stop().await
}

/// The worker and a peer, their last rates and their rounds.
struct Pair<'a> {
    peers: [&'a Peer; 2],
    many: [f64; 2],
    one: [f64; 2],
    rounds: [Rounds; 2],
}

impl<'a> Pair<'a> {
    fn new(peers: [&'a Peer; 2]) -> Self {
        Self { peers, many: [0.0; 2], one: [0.0; 2], rounds: Default::default() }
    }
}

struct Contest<'a> {
    workload: &'a PeerWorkload,
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
        let theirs = Peer::start(kind, server, self.workload).await?;
        let mut pair = Pair::new([ours, &theirs]);
        self.warm_up(&mut pair).await?;
        let mut behind = 0;
        for number in 1..=rounds {
            self.closed_rounds(&mut pair, number).await?;
            behind += usize::from(!self.open_rounds(&mut pair).await?);
        }
        let [us, them] = pair.rounds;
        theirs.stop().await?;
        if behind > 0 {
            let name = format!("peer {} on {}", kind.name, self.workload.workload);
            figures.note(format!(
                "{name}: in {behind} of {rounds} rounds a contestant fell behind the open loop; these do not count"
            ));
        }
        Report { kind, workload: &self.workload.workload, ours: &us, theirs: &them }.add(figures);
        Ok(())
    }

    async fn warm_up(&self, pair: &mut Pair<'_>) -> anyhow::Result<()> {
        let in_flight = self.workload.in_flight;
        for (at, peer) in pair.peers.into_iter().enumerate() {
            pair.many[at] = self.closed(peer, in_flight, in_flight * WARM_UP).await?.round.rate();
            pair.one[at] = self.closed(peer, 1, LEAST).await?.round.rate();
        }
        Ok(())
    }

    async fn closed_rounds(&self, pair: &mut Pair<'_>, number: usize) -> anyhow::Result<()> {
        for (at, peer) in pair.peers.into_iter().enumerate() {
            let sample = self.closed(peer, self.workload.in_flight, requests(pair.many[at])).await?;
            eprintln!("round {number}: {:15} {}", peer.name, sample.round);
            pair.many[at] = sample.round.rate();
            pair.rounds[at].many.push(sample);
        }
        for (at, peer) in pair.peers.into_iter().enumerate() {
            let sample = self.closed(peer, 1, requests(pair.one[at])).await?;
            pair.one[at] = sample.round.rate();
            pair.rounds[at].one.push(sample);
        }
        Ok(())
    }

    /// False if a contestant fell behind.
    async fn open_rounds(&self, pair: &mut Pair<'_>) -> anyhow::Result<bool> {
        let rate = LOAD * pair.many[0].min(pair.many[1]);
        let [us, them] = [self.open(pair.peers[0], rate).await?, self.open(pair.peers[1], rate).await?];
        if us.round.rate().min(them.round.rate()) < REACHED * rate {
            return Ok(false);
        }
        pair.rounds[0].open.push(us);
        pair.rounds[1].open.push(them);
        Ok(true)
    }

    async fn closed(&self, peer: &Peer, in_flight: usize, count: usize) -> anyhow::Result<Sample> {
        self.ready(peer, in_flight).await?;
        let due = stream::iter((0..count).map(|number| (number, None)));
        self.round(peer, due, in_flight).await
    }

    async fn open(&self, peer: &Peer, rate: f64) -> anyhow::Result<Sample> {
        self.ready(peer, self.workload.in_flight).await?;
        let due = stream::StreamExt::map(pace::at(rate, requests(rate)), |(number, due)| (number, Some(due)));
        self.round(peer, due, OPEN_IN_FLIGHT).await
    }

    /// Opens the connections of a round before its clock runs.
    async fn ready(&self, peer: &Peer, in_flight: usize) -> anyhow::Result<()> {
        peer.reconnect();
        let due = stream::iter((0..in_flight).map(|number| (number, None)));
        self.round(peer, due, in_flight).await.map(drop)
    }

    /// Latencies start at the due time, or at the send time if requests do not have one.
    async fn round(
        &self,
        peer: &Peer,
        due: impl stream::Stream<Item = (usize, Option<Instant>)>,
        in_flight: usize,
    ) -> anyhow::Result<Sample> {
        let process = peer.process()?;
        let before = processes::cpu(self.server)?;
        let ask = |(number, due): (usize, Option<Instant>)| async move {
            let payload = self.workload.payloads[number % self.workload.payloads.len()].clone();
            let started = due.unwrap_or_else(Instant::now);
            let results = peer.ask(payload).await?;
            let latency = started.elapsed();
            (self.workload.check)(number, &results).with_context(|| format!("{}, request {number}", peer.name))?;
            Ok(latency)
        };
        let round = Round::measured(|| processes::tree_cpu(process), due, in_flight, ask).await?;
        Ok(Sample { round, server: processes::cpu(self.server)?.saturating_sub(before) })
    }
}

fn requests(rate: f64) -> usize {
    ((rate * ROUND.as_secs_f64()) as usize).clamp(LEAST, MOST)
}
