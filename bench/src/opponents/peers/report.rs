//! Figures of the rounds against one peer.

use std::time::Duration;

use super::kind::{Kind, Protocol};
use crate::load::Round;
use crate::paper::figure::Figure;
use crate::paper::figures::Figures;

/// A round, and the server's processor time for it.
pub struct Sample {
    pub round: Round,
    pub server: Duration,
}

impl Sample {
    pub fn server_micros(&self) -> f64 {
        self.server.as_secs_f64() * 1e6 / self.round.requests() as f64
    }
}

/// The rounds of one contestant: with many requests in flight, with one, and as an open loop.
#[derive(Default)]
pub struct Rounds {
    pub many: Vec<Sample>,
    pub one: Vec<Sample>,
    pub open: Vec<Sample>,
}

/// The rounds against one peer.
pub struct Report<'a> {
    pub kind: &'a Kind,
    pub workload: &'a str,
    pub ours: &'a Rounds,
    pub theirs: &'a Rounds,
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
    pub fn add(&self, figures: &mut Figures) {
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
        let on_nats = self.kind.protocol == Protocol::Nats;
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
