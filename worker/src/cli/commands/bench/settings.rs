//! From the arguments to all that a bench needs: connections, targets, payloads and the right answers.

use std::sync::Arc;

use async_nats::{Client, HeaderMap};
use inferbus::bench::contents::{Check, Contents};
use inferbus::bench::fault::BenchFault;
use inferbus::bench::payload::{self, Payload};
use inferbus::bench::run::{Bench, Stream, Target, Troubles};
use inferbus::bench::zeros;
use inferbus::wire;

use super::Arguments;

pub async fn bench(arguments: &Arguments) -> anyhow::Result<Bench> {
    let named = arguments.named();
    let mut outstanding = arguments.outstanding;
    if let Some(in_flight) = arguments.in_flight {
        outstanding = outstanding.max(in_flight);
    }
    let troubles = Arc::new(Troubles::default());
    let mut clients = Vec::new();
    // Answers that are given up may still come, beside those to what is sent instead.
    let room = outstanding.saturating_mul(2 * arguments.results_per_message as usize);
    for _ in 0..arguments.connections {
        let troubles = troubles.clone();
        clients.push(arguments.connection.load(room, move |event| troubles.note(&event)).await?);
    }
    let (mut targets, mut expected) = (Vec::new(), Vec::new());
    for (name, subject, weight) in named {
        let payloads = arguments.payloads(&clients, &name, &subject).await?;
        if let Some(path) = &arguments.expect {
            expected.push(payload::expected(path, &name, &payloads)?);
        }
        let payloads = payloads.into_iter().map(|payload| payload.bytes).collect();
        targets.push(Target { name, subject: subject.into(), weight, payloads });
    }
    let check = match (&arguments.expect, arguments.may_differ) {
        (Some(_), _) => Check::Expected(expected),
        (None, true) => Check::Nothing,
        (None, false) => Check::First,
    };
    Ok(Bench {
        clients,
        targets,
        headers: arguments.headers(),
        contents: Contents::new(check),
        stream: arguments.stream_mode(),
        outstanding,
        wait: arguments.wait,
        seed: arguments.seed,
        troubles,
    })
}

/// What a report is headed with.
pub fn title(bench: &Bench) -> String {
    let names: Vec<&str> = bench.targets.iter().map(|target| &*target.name).collect();
    format!("Inferbus bench: {}", names.join(", "))
}

/// What a reader must know to do it again.
pub fn told(arguments: &Arguments, bench: &Bench) -> Vec<(&'static str, String)> {
    let mut told = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    for target in &bench.targets {
        let bytes: usize = target.payloads.iter().map(bytes::Bytes::len).sum();
        let (count, mean) = (target.payloads.len(), bytes / target.payloads.len().max(1));
        let text = format!(
            "{} on {}, weight {}, {count} payloads of {mean} bytes",
            target.name, target.subject, target.weight
        );
        told.push(("target", text));
    }
    if let Some(Stream { stream, results, route, results_per_message }) = &bench.stream {
        let route = route.as_deref().unwrap_or("any");
        told.push(("stream", format!("{stream}, route {route}, {results_per_message} results of each on {results}")));
    }
    let load = match (arguments.in_flight, arguments.rate, arguments.sweep) {
        (Some(in_flight), ..) => format!("closed loop, {in_flight} in flight"),
        (None, rate, true) => {
            format!("sweep from {} a second, {} arrivals", rate.unwrap_or(super::LOWEST), arguments.arrivals.name())
        }
        (None, rate, false) => {
            format!("open loop, {} a second, {} arrivals", rate.unwrap_or(super::LOWEST), arguments.arrivals.name())
        }
    };
    let length = arguments.requests.map_or(format!("{:?}", arguments.duration), |count| format!("{count} requests"));
    let check = match (&arguments.expect, arguments.may_differ) {
        (Some(path), _) => format!("answers as in {}", path.display()),
        (None, true) => "answers not compared".to_owned(),
        (None, false) => "answers as the first to the same payload".to_owned(),
    };
    told.extend([
        ("load", load),
        ("length", format!("{length} after {:?} to warm up", arguments.warm_up)),
        ("check", check),
        ("bounds", format!("{} outstanding, {:?} to wait", bench.outstanding, bench.wait)),
        ("connections", arguments.connections.to_string()),
        ("seed", arguments.seed.to_string()),
    ]);
    told
}

impl Arguments {
    /// Names, subjects and weights.
    fn named(&self) -> Vec<(String, String, u32)> {
        let of_model = |model: &inferbus_catalog::ModelName| format!("{}.{model}", self.prefix);
        if let Some(mix) = &self.mix {
            return mix.0.iter().map(|(model, weight)| (model.to_string(), of_model(model), *weight)).collect();
        }
        let (name, subject) = match (&self.model, &self.subject, &self.publish) {
            (Some(model), ..) => (model.to_string(), of_model(model)),
            (None, Some(subject), _) | (None, None, Some(subject)) => (subject.clone(), subject.clone()),
            (None, None, None) => Default::default(),
        };
        vec![(name, subject, 1)]
    }

    async fn payloads(&self, clients: &[Client], name: &str, subject: &str) -> Result<Vec<Payload>, BenchFault> {
        if let Some(len) = self.random {
            return Ok(payload::random(len as usize, self.seed));
        }
        match (self.payload.as_ref().or(self.payload_dir.as_ref()), clients.first()) {
            (Some(path), _) => payload::read(path, name),
            (None, Some(client)) => Ok(vec![zeros::ask(client, subject, name).await?]),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        if self.zeros {
            headers.insert("Content-Type", wire::FRAME_TYPE);
        }
        for (name, value) in &self.headers {
            headers.append(name.clone(), value.clone());
        }
        (!headers.is_empty()).then_some(headers)
    }

    fn stream_mode(&self) -> Option<Stream> {
        Some(Stream {
            stream: self.stream.as_ref()?.to_string(),
            results: self.results.clone()?,
            route: self.route.as_ref().map(ToString::to_string),
            results_per_message: self.results_per_message,
        })
    }
}
