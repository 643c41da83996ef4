//! Checks of streams, consumers and routes: existence, settings, readers and backlog.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, IntoConsumerConfig as _};
use inferbus_catalog::{Route, RouteName, StreamOptions, overlap};

use crate::doctor::facts::{ConsumerFacts, Facts, Observed};
use crate::doctor::finding::{Problem, danger, unknown, warning};
use crate::stream::{names, objects};

/// One problem for a whole unreadable list.
fn unreadable<T>(observed: &Observed<T>, name: &str) -> Vec<Problem> {
    let remedy = "run this as the operator";
    observed.as_ref().err().map(|why| unknown(format!("{name} are not readable: {why}"), remedy)).into_iter().collect()
}

pub fn capture(facts: &Facts) -> Vec<Problem> {
    let mut problems = unreadable(&facts.streams, "the streams");
    let mut requests = vec![(format!("{}.*", facts.prefix), "requests".to_owned())];
    for (name, route) in facts.valid_routes().filter(|(_, route)| route.stream().is_none()) {
        requests.push((route.subject.clone(), format!("requests of the route {name}")));
    }
    for stream in facts.streams.iter().flatten() {
        for (subject, whose) in &requests {
            if stream.config.no_ack {
                continue;
            }
            if let Some(taken) = stream.config.subjects.iter().find(|taken| overlap(taken, subject)) {
                let name = &stream.config.name;
                let message = format!(
                    "the stream {name} takes {taken}: its publish ack may answer {whose} on {subject} before a worker"
                );
                problems.push(danger(message, format!("remove {taken} from the stream {name}, or use other subjects")));
            }
        }
    }
    problems
}

pub fn routes(facts: &Facts) -> Vec<Problem> {
    let mut problems = unreadable(&facts.routes, "the routes");
    for route in facts.routes.iter().flatten() {
        if let Err(problem) = &route.route {
            let message = format!("the route {} cannot be read, and no worker serves it: {problem}", route.name);
            problems.push(danger(message, format!("write it again with `inferbus route add --name {}`", route.name)));
        }
    }
    if facts.streams.is_err() {
        return problems;
    }
    for (name, route) in facts.stream_routes() {
        if let Some(options) = route.stream() {
            problems.extend(missing_objects(facts, name, route, options));
        }
    }
    problems
}

fn missing_objects(facts: &Facts, name: &RouteName, route: &Route, options: &StreamOptions) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut stream =
        |stream: &str, check: &dyn Fn(&async_nats::jetstream::stream::Config) -> Result<(), objects::Conflict>| {
            match facts.stream(stream) {
                None => {
                    let remedy = format!("create it with `inferbus route add` or `inferbus route repair {name}`");
                    problems.push(danger(format!("the route {name} misses its stream {stream}"), remedy));
                }
                Some(found) => {
                    if let Err(conflict) = check(&found.config) {
                        problems.push(conflicting(name, &conflict));
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
            let message =
                format!("the route {name} misses its consumer {} of {}", names::consumer(name), options.stream);
            problems.push(danger(
                message,
                format!("create it with `inferbus route add` or `inferbus route repair {name}`"),
            ));
        }
        None => {}
        Some(found) => {
            let wanted = objects::consumer(name, route, options, DeliverPolicy::All).into_consumer_config();
            problems
                .extend(objects::check_consumer(&found.config, &wanted).err().map(|fault| conflicting(name, &fault)));
        }
    }
    problems
}

fn conflicting(name: &RouteName, conflict: &objects::Conflict) -> Problem {
    let objects::Conflict { object, setting, found, wanted, advice } = conflict;
    danger(format!("{object} has {setting} {found}, and the route {name} needs {wanted}"), *advice)
}

fn is_of(consumer: &ConsumerFacts, name: &RouteName, options: &StreamOptions) -> bool {
    consumer.stream == options.stream.as_str() && consumer.name == names::consumer(name)
}

pub fn readers(facts: &Facts) -> Vec<Problem> {
    let mut problems = unreadable(&facts.consumers, "the consumers");
    let served = facts.workers.iter().flatten().any(|worker| worker.status.ready);
    for (name, route) in facts.stream_routes() {
        let Some(options) = route.stream() else { continue };
        let consumer = facts.consumers.iter().flatten().find(|consumer| is_of(consumer, name, options));
        // A busy worker may pause its pulls.
        if let Some(consumer) = consumer.filter(|consumer| consumer.pending > 0 && consumer.waiting == 0 && !served) {
            let message =
                format!("{} messages of the route {name} are pending, and no worker takes them", consumer.pending);
            problems.push(danger(message, "start a worker, or see `inferbus status` for the reason"));
        }
    }
    problems
}

pub fn leftovers(facts: &Facts) -> Vec<Problem> {
    let mut problems = unreadable(&facts.consumers, "the consumers");
    if facts.routes.is_err() {
        return problems;
    }
    // Its mode is unknown, so its consumer may be in use.
    let unreadable = facts.routes.iter().flatten().filter(|route| route.route.is_err());
    let unreadable: Vec<String> = unreadable.map(|route| names::consumer(&route.name)).collect();
    for consumer in facts.consumers.iter().flatten() {
        let ConsumerFacts { stream, name, pending, .. } = consumer;
        let owned = facts
            .stream_routes()
            .any(|(route, options)| options.stream().is_some_and(|options| is_of(consumer, route, options)));
        if name.starts_with("inferbus-") && !owned && !unreadable.contains(name) {
            let message = format!(
                "the consumer {name} of the stream {stream} has {pending} pending messages but belongs to no route"
            );
            problems.push(warning(message, format!("add the route again, or run `nats consumer rm {stream} {name}`")));
        }
    }
    problems
}

pub fn ack_wait(facts: &Facts) -> Vec<Problem> {
    let mut problems = unreadable(&facts.workers, "the workers");
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
            let message = format!(
                "the route {name} has an ack wait of {wait:?}, shorter than the p99 of {} {version}, {p99:?}",
                route.model
            );
            let remedy = "raise the route's --ack-wait: one lost in-progress ack runs a message twice";
            problems.push(warning(message, remedy));
        }
    }
    problems
}

pub fn dead_letters(facts: &Facts) -> Vec<Problem> {
    let count = facts.stream(names::DEAD_LETTERS).map_or(0, |stream| stream.messages);
    if count == 0 {
        return unreadable(&facts.streams, "the streams");
    }
    let message = format!("{count} dead letters are in {}", names::DEAD_LETTERS);
    vec![warning(
        message,
        "list them with `inferbus dlq ls`, fix the cause, then run `inferbus dlq replay` or `inferbus dlq drop`",
    )]
}
