//! From arguments to a load test: connections, targets, payloads and expected answers.

use std::sync::Arc;

use async_nats::{Client, HeaderMap};
use inferbus_loadgen::account::answers::{AnswerCheck, Expectation};
use inferbus_loadgen::fault::BenchFault;
use inferbus_loadgen::generate::arrivals::Arrivals;
use inferbus_loadgen::generate::payload::{self, Payload};
use inferbus_loadgen::generate::zeros;
use inferbus_loadgen::settings::{ConnectionEvents, Setup, Stream, Target};
use inferbus_pipeline::encoding;

use super::arguments::{Arguments, LOWEST};

pub async fn setup(arguments: &Arguments) -> anyhow::Result<Setup> {
    let named = arguments.named();
    let mut outstanding = arguments.max_outstanding;
    if let Some(in_flight) = arguments.in_flight {
        outstanding = outstanding.max(in_flight);
    }
    let events = Arc::new(ConnectionEvents::default());
    let mut clients = Vec::new();
    // Answers to expired requests may still arrive, beside answers to their successors.
    let room = outstanding.saturating_mul(2 * arguments.results_per_message as usize);
    for _ in 0..arguments.connections {
        let events = events.clone();
        clients.push(arguments.connection.load(room, move |event| events.note(&event)).await?);
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
    let expectation = match (&arguments.expect, arguments.allow_different) {
        (Some(_), _) => Expectation::Expected(expected),
        (None, true) => Expectation::Nothing,
        (None, false) => Expectation::First,
    };
    Ok(Setup {
        clients,
        targets,
        headers: arguments.headers(),
        answers: AnswerCheck::new(expectation),
        stream: arguments.stream_mode(),
        max_outstanding: outstanding,
        wait: arguments.wait,
        seed: arguments.seed,
        events,
    })
}

/// The title of a report.
pub fn title(setup: &Setup) -> String {
    let names: Vec<&str> = setup.targets.iter().map(|target| &*target.name).collect();
    format!("Inferbus bench: {}", names.join(", "))
}

/// The settings of a report, sufficient to repeat the measurement.
pub fn listed(arguments: &Arguments, setup: &Setup) -> Vec<(&'static str, String)> {
    let mut list = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    list.extend(setup.targets.iter().map(|target| ("target", target_text(target))));
    if let Some(Stream { stream, results, route, results_per_message }) = &setup.stream {
        let route = route.as_deref().unwrap_or("any");
        list.push((
            "stream",
            format!("{stream}, route {route}, {results_per_message} results per message on {results}"),
        ));
    }
    let length = arguments.requests.map_or(format!("{:?}", arguments.duration), |count| format!("{count} requests"));
    let check = match (&arguments.expect, arguments.allow_different) {
        (Some(path), _) => format!("answers as in {}", path.display()),
        (None, true) => "answers not compared".to_owned(),
        (None, false) => "answers equal to the first one per payload".to_owned(),
    };
    list.extend([
        ("load", load_text(arguments)),
        ("length", format!("{length} after a warm-up of {:?}", arguments.warm_up)),
        ("check", check),
        ("bounds", format!("{} outstanding, wait of {:?}", setup.max_outstanding, setup.wait)),
        ("connections", arguments.connections.to_string()),
        ("seed", arguments.seed.to_string()),
    ]);
    list
}

fn target_text(target: &Target) -> String {
    let bytes: usize = target.payloads.iter().map(bytes::Bytes::len).sum();
    let (count, mean) = (target.payloads.len(), bytes / target.payloads.len().max(1));
    let Target { name, subject, weight, .. } = target;
    format!("{name} on {subject}, weight {weight}, {count} payloads of {mean} bytes")
}

fn load_text(arguments: &Arguments) -> String {
    let arrivals = Arrivals::from(arguments.arrivals).name();
    match (arguments.in_flight, arguments.rate, arguments.sweep) {
        (Some(in_flight), ..) => format!("closed loop, {in_flight} in flight"),
        (None, rate, true) => {
            format!("sweep from {} per second, {arrivals} arrivals", rate.unwrap_or(LOWEST))
        }
        (None, rate, false) => {
            format!("open loop, {} per second, {arrivals} arrivals", rate.unwrap_or(LOWEST))
        }
    }
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
            (None, Some(client)) => Ok(vec![zeros::ask(client, subject, name, inferbus::limits::PAYLOAD).await?]),
            (None, None) => Ok(Vec::new()),
        }
    }

    fn headers(&self) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        if self.zeros {
            headers.insert("Content-Type", encoding::FRAME_TYPE);
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
