//! Streams and consumers: whether each route has what it needs, and whether somebody works.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, IntoConsumerConfig as _};
use inferbus_catalog::{Route, RouteName, StreamOptions, overlap};

use crate::doctor::facts::{ConsumerFacts, Facts, Seen};
use crate::doctor::finding::{Remark, danger, unknown, warning};
use crate::stream::{names, objects};

/// One remark for a whole list that could not be seen.
fn unseen<T>(seen: &Seen<T>, what: &str) -> Vec<Remark> {
    let todo = "run this as somebody who may see it, as the operator";
    seen.as_ref().err().map(|why| unknown(format!("{what} could not be seen: {why}"), todo)).into_iter().collect()
}

pub fn capture(facts: &Facts) -> Vec<Remark> {
    let mut remarks = unseen(&facts.streams, "the streams");
    let mut asked = vec![(format!("{}.*", facts.prefix), "requests".to_owned())];
    for (name, route) in facts.valid_routes().filter(|(_, route)| route.stream().is_none()) {
        asked.push((route.subject.clone(), format!("requests of the route {name}")));
    }
    for stream in facts.streams.iter().flatten() {
        for (subject, whose) in &asked {
            if stream.config.no_ack {
                continue;
            }
            if let Some(taken) = stream.config.subjects.iter().find(|taken| overlap(taken, subject)) {
                let name = &stream.config.name;
                let what = format!(
                    "the stream {name} takes {taken}, so {whose} on {subject} can be answered by its confirmation before a worker's reply"
                );
                remarks.push(danger(what, format!("take {taken} out of the stream {name}, or use other subjects")));
            }
        }
    }
    remarks
}

pub fn routes(facts: &Facts) -> Vec<Remark> {
    let mut remarks = unseen(&facts.routes, "the routes");
    for route in facts.routes.iter().flatten() {
        if let Err(problem) = &route.route {
            let what = format!("the route {} cannot be read, and nobody serves it: {problem}", route.name);
            remarks.push(danger(what, format!("put it again with `inferbus route add --name {}`", route.name)));
        }
    }
    if facts.streams.is_err() {
        return remarks;
    }
    for (name, route) in facts.stream_routes() {
        if let Some(options) = route.stream() {
            remarks.extend(needs(facts, name, route, options));
        }
    }
    remarks
}

fn needs(facts: &Facts, name: &RouteName, route: &Route, options: &StreamOptions) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut stream =
        |stream: &str, check: &dyn Fn(&async_nats::jetstream::stream::Config) -> Result<(), objects::Conflict>| {
            match facts.stream(stream) {
                None => {
                    let todo = format!("`inferbus route add` again, or `inferbus route mend {name}`, makes it");
                    remarks.push(danger(format!("the route {name} has no stream {stream}"), todo));
                }
                Some(found) => {
                    if let Err(conflict) = check(&found.config) {
                        remarks.push(conflicting(name, &conflict));
                    }
                }
            }
        };
    stream(options.stream.as_str(), &|config| objects::check_input(config, route));
    stream(&names::results(name, route), &|config| objects::check_results(config, &objects::results(name, route, 1)));
    stream(names::DEAD_LETTERS, &|config| objects::keeps(config, &objects::dead_letters(1)));
    let consumer = facts.consumers.iter().flatten().find(|consumer| is_of(consumer, name, options));
    match consumer {
        None if facts.consumers.is_ok() => {
            let what = format!("the route {name} has no consumer {} of {}", names::consumer(name), options.stream);
            remarks
                .push(danger(what, format!("`inferbus route add` again, or `inferbus route mend {name}`, makes it")));
        }
        None => {}
        Some(found) => {
            let wanted = objects::consumer(name, route, options, DeliverPolicy::All).into_consumer_config();
            remarks
                .extend(objects::check_consumer(&found.config, &wanted).err().map(|fault| conflicting(name, &fault)));
        }
    }
    remarks
}

fn conflicting(name: &RouteName, conflict: &objects::Conflict) -> Remark {
    let objects::Conflict { object, setting, found, wanted, advice } = conflict;
    danger(format!("{object} has {setting} {found}, and the route {name} needs {wanted}"), *advice)
}

fn is_of(consumer: &ConsumerFacts, name: &RouteName, options: &StreamOptions) -> bool {
    consumer.stream == options.stream.as_str() && consumer.name == names::consumer(name)
}

pub fn readers(facts: &Facts) -> Vec<Remark> {
    let mut remarks = unseen(&facts.consumers, "the consumers");
    let served = facts.workers.iter().flatten().any(|worker| worker.status.ready);
    for (name, route) in facts.stream_routes() {
        let Some(options) = route.stream() else { continue };
        let consumer = facts.consumers.iter().flatten().find(|consumer| is_of(consumer, name, options));
        // A busy worker asks for nothing for a moment, but it is ready.
        if let Some(consumer) = consumer.filter(|consumer| consumer.pending > 0 && consumer.waiting == 0 && !served) {
            let what = format!("{} messages of the route {name} wait, and nobody takes them", consumer.pending);
            remarks.push(danger(what, "start a worker, or see in `inferbus status` why none is ready"));
        }
    }
    remarks
}

pub fn leftovers(facts: &Facts) -> Vec<Remark> {
    let mut remarks = unseen(&facts.consumers, "the consumers");
    if facts.routes.is_err() {
        return remarks;
    }
    // What an unreadable route owns is not known.
    let unreadable = facts.routes.iter().flatten().filter(|route| route.route.is_err());
    let unreadable: Vec<String> = unreadable.map(|route| names::consumer(&route.name)).collect();
    for consumer in facts.consumers.iter().flatten() {
        let ConsumerFacts { stream, name, pending, .. } = consumer;
        let owned = facts
            .stream_routes()
            .any(|(route, options)| options.stream().is_some_and(|options| is_of(consumer, route, options)));
        if name.starts_with("inferbus-") && !owned && !unreadable.contains(name) {
            let what = format!(
                "the consumer {name} of the stream {stream} belongs to no route, and holds {pending} messages that nobody works on"
            );
            remarks.push(warning(what, format!("add the route again, or `nats consumer rm {stream} {name}`")));
        }
    }
    remarks
}

pub fn ack_wait(facts: &Facts) -> Vec<Remark> {
    let mut remarks = unseen(&facts.workers, "the workers");
    for (name, route) in facts.stream_routes() {
        let Some(options) = route.stream() else { continue };
        let models = facts.workers.iter().flatten().flat_map(|worker| &worker.status.models);
        let slowest = models
            .filter(|model| model.model == route.model.as_str())
            .filter_map(|model| Some((model.p99_micros?, model.version.as_deref()?)))
            .max();
        let Some((micros, version)) = slowest else { continue };
        let (p99, wait) = (Duration::from_micros(micros), options.ack_wait.duration());
        if p99 > wait {
            let what = format!(
                "the route {name} waits {wait:?} for a sign of life, and of {} {version} one message in a hundred takes up to {p99:?}",
                route.model
            );
            let todo = "raise the route's --ack-wait: a lost sign of life has the message worked on twice";
            remarks.push(warning(what, todo));
        }
    }
    remarks
}

pub fn dead_letters(facts: &Facts) -> Vec<Remark> {
    let waiting = facts.stream(names::DEAD_LETTERS).map_or(0, |stream| stream.messages);
    if waiting == 0 {
        return unseen(&facts.streams, "the streams");
    }
    let what = format!("{waiting} dead letters wait in {}", names::DEAD_LETTERS);
    vec![warning(
        what,
        "look at them with `inferbus dlq ls`, mend what is wrong, and `inferbus dlq replay` or `drop` them",
    )]
}
