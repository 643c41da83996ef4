//! A route's objects on the server: the settings of new ones with reasons, and the checks of existing ones.
//!
//! Guarantees: pure functions without I/O. A conflict names the found and the required value.

use std::time::Duration;

use async_nats::jetstream::consumer::{self, AckPolicy, DeliverPolicy, PriorityPolicy, ReplayPolicy, pull};
use async_nats::jetstream::stream::{self, Compression, DiscardPolicy, RetentionPolicy, StorageType};
use inferbus_catalog::{Route, RouteName, Start, StreamOptions, covers, overlap};

use super::names;
use crate::limits;

/// The priority group of an ordered route's workers.
pub const ORDERED: &str = "ordered";

/// A setting of an existing object in conflict with the route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{object} has {setting} {found}, and the route needs {wanted}: {advice}")]
pub struct Conflict {
    pub object: String,
    pub setting: &'static str,
    pub found: String,
    pub wanted: String,
    pub advice: &'static str,
}

/// One setting of an object, with its reason.
pub struct Setting {
    pub name: &'static str,
    pub value: String,
    pub why: &'static str,
}

fn setting(name: &'static str, value: impl ToString, why: &'static str) -> Setting {
    Setting { name, value: value.to_string(), why }
}

/// The new stream of the route's messages.
pub fn input(route: &Route, options: &StreamOptions) -> stream::Config {
    stream::Config {
        name: options.stream.to_string(),
        description: Some("Messages for Inferbus".into()),
        subjects: vec![route.subject.clone()],
        ..Default::default()
    }
}

/// The durable consumer, shared by all workers.
pub fn consumer(name: &RouteName, route: &Route, options: &StreamOptions, start: DeliverPolicy) -> pull::Config {
    let ordered = options.order.is_some();
    pull::Config {
        durable_name: Some(names::consumer(name)),
        description: Some(format!("Inferbus route {name} to model {}", route.model)),
        deliver_policy: start,
        ack_policy: AckPolicy::Explicit,
        ack_wait: options.ack_wait.duration(),
        max_deliver: -1,
        filter_subject: route.subject.clone(),
        replay_policy: ReplayPolicy::Instant,
        max_ack_pending: limits::UNACKED,
        max_waiting: limits::WAITING_PULLS,
        priority_policy: if ordered { PriorityPolicy::PinnedClient } else { PriorityPolicy::None },
        priority_groups: if ordered { vec![ORDERED.into()] } else { Vec::new() },
        priority_timeout: if ordered { limits::PIN.max(options.ack_wait.duration() * 2) } else { Duration::ZERO },
        ..Default::default()
    }
}

/// The start of a new consumer.
pub fn start(options: &StreamOptions) -> DeliverPolicy {
    match options.start {
        Start::All => DeliverPolicy::All,
        Start::New => DeliverPolicy::New,
    }
}

/// The stream of a route's results.
pub fn results(name: &RouteName, route: &Route, replicas: usize) -> stream::Config {
    stream::Config {
        name: names::results(name, route),
        description: Some(format!("Results of Inferbus route {name}")),
        subjects: names::result_subjects(route),
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        max_age: limits::RESULTS_AGE,
        duplicate_window: limits::DUPLICATE_WINDOW,
        num_replicas: replicas,
        allow_direct: true,
        ..Default::default()
    }
}

/// The stream of all routes' dead letters.
pub fn dead_letters(replicas: usize) -> stream::Config {
    stream::Config {
        name: names::DEAD_LETTERS.into(),
        description: Some("Dead letters of Inferbus: `inferbus dlq ls`".into()),
        subjects: vec![names::DEAD_LETTER_SUBJECTS.into()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_messages: limits::DEAD_LETTERS,
        duplicate_window: limits::DUPLICATE_WINDOW,
        compression: Some(Compression::S2),
        num_replicas: replicas,
        allow_direct: true,
        ..Default::default()
    }
}

pub fn explain_input(config: &stream::Config) -> Vec<Setting> {
    vec![
        setting("subjects", config.subjects.join(", "), "messages on these subjects are stored and then processed"),
        setting("retention", retention(config.retention), "your choice; a replay needs the messages"),
        setting("replicas", config.num_replicas, "with 1, a broken disk loses pending messages"),
    ]
}

pub fn explain_consumer(config: &consumer::Config) -> Vec<Setting> {
    let mut settings = vec![
        setting("filter", &config.filter_subject, "the route's subject"),
        setting("ack", ack(config.ack_policy), "each message individually, after its result is stored"),
        setting("ack wait", seconds(config.ack_wait), "after this time without in-progress ack, it is redelivered"),
        setting("max deliver", config.max_deliver, "no limit: workers count, and write a dead letter first"),
        setting("max ack pending", config.max_ack_pending, "over all workers; further messages wait"),
    ];
    if config.priority_policy == PriorityPolicy::PinnedClient {
        settings.push(setting("order", "one worker at a time", "messages of one key cannot overtake each other"));
    }
    settings
}

pub fn explain_results(config: &stream::Config) -> Vec<Setting> {
    vec![
        setting("subjects", config.subjects.join(", "), "results, and emitted events below them"),
        setting("retention", retention(config.retention), "the server knows duplicates only from stored messages"),
        setting("max age", age(config.max_age), "older results are removed; never younger than the duplicate window"),
        setting("duplicate window", seconds(config.duplicate_window), "a result sent twice within it is stored once"),
        setting("replicas", config.num_replicas, "as many as the messages have"),
    ]
}

pub fn explain_dead_letters(config: &stream::Config) -> Vec<Setting> {
    vec![
        setting("subjects", config.subjects.join(", "), "inferbus.dlq.<route>.<sequence>"),
        setting("max messages", config.max_messages, "a full stream stops the route without loss"),
        setting("max age", age(config.max_age), "dead letters stay until they are replayed or dropped"),
        setting("replicas", config.num_replicas, "as many as the messages have"),
    ]
}

/// Whether an existing stream can hold the route's messages.
pub fn check_input(config: &stream::Config, route: &Route) -> Result<(), Conflict> {
    let fed_elsewhere = config.mirror.is_some() || config.sources.is_some() || config.subject_transform.is_some();
    if fed_elsewhere || config.subjects.iter().any(|subject| overlap(subject, &route.subject)) {
        return Ok(());
    }
    Err(Conflict {
        object: format!("the stream {}", config.name),
        setting: "subjects",
        found: config.subjects.join(", "),
        wanted: route.subject.clone(),
        advice: "add the subject to the stream, or change the route",
    })
}

/// Whether an existing consumer fits the route.
pub fn check_consumer(found: &consumer::Config, wanted: &consumer::Config) -> Result<(), Conflict> {
    let name = wanted.durable_name.as_deref().unwrap_or_default();
    let differ = |setting, found: String, wanted: String| {
        let advice = "change the route back, or delete the consumer and run `inferbus route repair`";
        let object = format!("the consumer {name}");
        if found == wanted { Ok(()) } else { Err(Conflict { object, setting, found, wanted, advice }) }
    };
    let filters = |config: &consumer::Config| {
        let one = (!config.filter_subject.is_empty()).then(|| config.filter_subject.clone());
        one.into_iter().chain(config.filter_subjects.iter().cloned()).collect::<Vec<_>>().join(", ")
    };
    differ("filter", filters(found), filters(wanted))?;
    differ("ack policy", ack(found.ack_policy), ack(wanted.ack_policy))?;
    differ("ack wait", seconds(found.ack_wait), seconds(wanted.ack_wait))?;
    differ("max deliver", found.max_deliver.to_string(), wanted.max_deliver.to_string())?;
    differ("back-off", format!("{:?}", found.backoff), format!("{:?}", wanted.backoff))?;
    differ("headers only", found.headers_only.to_string(), wanted.headers_only.to_string())?;
    differ("priority policy", format!("{:?}", found.priority_policy), format!("{:?}", wanted.priority_policy))
}

/// Whether an existing stream keeps results and detects duplicates.
pub fn check_results(config: &stream::Config, wanted: &stream::Config) -> Result<(), Conflict> {
    keeps(config, wanted)?;
    let conflict = |setting, found, wanted: &str, advice| {
        let object = format!("the result stream {}", config.name);
        Err(Conflict { object, setting, found, wanted: wanted.into(), advice })
    };
    if config.duplicate_window.is_zero() {
        return conflict("duplicate window", seconds(Duration::ZERO), "more than 0s", "`nats stream edit` can set it");
    }
    if !config.max_age.is_zero() && config.max_age < config.duplicate_window {
        let (found, window) = (age(config.max_age), seconds(config.duplicate_window));
        return conflict(
            "max age",
            found,
            &format!("{window} or more"),
            "the server knows duplicates only from stored messages",
        );
    }
    Ok(())
}

/// Whether an existing stream stores these subjects and never deletes their messages early.
pub fn keeps(config: &stream::Config, wanted: &stream::Config) -> Result<(), Conflict> {
    let conflict = |setting, found: String, wanted: String, advice| {
        Err(Conflict { object: format!("the stream {}", config.name), setting, found, wanted, advice })
    };
    let missing = |subject: &&String| !config.subjects.iter().any(|stored| covers(stored, subject));
    if let Some(subject) = wanted.subjects.iter().find(missing) {
        let advice = "add the subject to the stream, or name another stream";
        return conflict("subjects", config.subjects.join(", "), subject.clone(), advice);
    }
    if config.retention != RetentionPolicy::Limits {
        let advice = "other policies delete messages, and the duplicate check with them";
        return conflict("retention", retention(config.retention), retention(RetentionPolicy::Limits), advice);
    }
    if config.no_ack {
        return conflict("no-ack", "true".into(), "false".into(), "results need the server's confirmation");
    }
    Ok(())
}

fn retention(policy: RetentionPolicy) -> String {
    format!("{policy:?}").to_lowercase()
}

fn ack(policy: AckPolicy) -> String {
    format!("{policy:?}").to_lowercase()
}

pub fn age(age: Duration) -> String {
    if age.is_zero() { "unlimited".into() } else { seconds(age) }
}

pub fn seconds(span: Duration) -> String {
    format!("{span:?}")
}
