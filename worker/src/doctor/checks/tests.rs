//! Every check, on one good deployment and on one with each problem.

use std::time::Duration;

use async_nats::jetstream::consumer::{DeliverPolicy, IntoConsumerConfig as _};
use async_nats::jetstream::stream::{Config, RetentionPolicy};
use inferbus_catalog::{Route, RouteName};

use super::*;
use crate::doctor::facts::{ConsumerFacts, Disk, ModelFacts, RouteFacts, StreamFacts, WorkerFacts};
use crate::doctor::permissions::{Lists, Permissions};
use crate::models::registry::{Counts, ModelState, ModelStatus, Spent};
use crate::status::service::WorkerStatus;
use crate::stream::objects;

const ROUTE: &str = r#"{"mode":"stream","stream":"SENSORS","subject":"sensors.*","model":"digits","output":"out.$1"}"#;

fn name() -> RouteName {
    "cams".parse().unwrap_or_else(|fault| panic!("{fault}"))
}

fn route() -> Route {
    Route::parse(ROUTE.as_bytes()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn worker(version: &str) -> WorkerFacts {
    let model = ModelStatus {
        model: "digits".into(),
        version: Some("1.0.0".into()),
        digest: None,
        wanted: None,
        state: ModelState::Serving,
        error: None,
        p50_micros: Some(100),
        p99_micros: Some(1000),
        spent: Spent::default(),
        memory_bytes: None,
        idle_seconds: None,
    };
    let status = WorkerStatus {
        worker: "one".into(),
        ready: true,
        unready: vec![],
        catalog: None,
        in_flight: 0,
        counts: Counts::default(),
        memory_bytes: 0,
        models: vec![model],
    };
    WorkerFacts { version: version.into(), status }
}

fn good() -> Facts {
    let (name, route) = (name(), route());
    let options = route.stream().cloned().unwrap_or_else(|| panic!("a stream's route"));
    let stream = |config| StreamFacts { config, messages: 0 };
    let bucket = Config {
        name: "KV_models".into(),
        subjects: vec!["$KV.models.>".into()],
        num_replicas: 1,
        ..Config::default()
    };
    let consumer = ConsumerFacts {
        stream: "SENSORS".into(),
        name: "inferbus-cams".into(),
        config: objects::consumer(&name, &route, &options, DeliverPolicy::All).into_consumer_config(),
        pending: 0,
        unacked: 0,
        waiting: 1,
    };
    Facts {
        server_version: "2.15.1".into(),
        clock_ahead: Ok(0.01),
        permissions: Ok(Permissions::default()),
        as_worker: true,
        prefix: "infer".into(),
        disk: Ok(Disk { sync_always: true, sync_seconds: 120 }),
        streams: Ok(vec![
            stream(bucket),
            stream(objects::input(&route, &options)),
            stream(objects::results(&name, &route, 1)),
            stream(objects::dead_letters(1)),
        ]),
        consumers: Ok(vec![consumer]),
        models: Ok(vec![ModelFacts { name: "digits".into(), problem: None }]),
        routes: Ok(vec![RouteFacts { name, route: Ok(route) }]),
        workers: Ok(vec![worker("0.1.0")]),
    }
}

/// The findings above `ok`, after one change for the worse.
fn found(spoil: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level, String)> {
    let mut facts = good();
    spoil(&mut facts);
    let findings = run(&facts).into_iter().filter(|finding| finding.level != Level::Ok);
    findings
        .map(|finding| {
            assert!(!finding.remedy.is_empty(), "{finding:?} lacks a remedy");
            (finding.check, finding.level, finding.message)
        })
        .collect()
}

#[track_caller]
fn finds(check: &str, level: Level, words: &str, spoil: impl FnOnce(&mut Facts)) {
    let found = found(spoil);
    let [(found_check, found_level, message)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!((*found_check, *found_level), (check, level), "{message}");
    assert!(message.contains(words), "{message}");
}

fn stream<'a>(facts: &'a mut Facts, name: &str) -> &'a mut StreamFacts {
    let streams = facts.streams.as_mut().unwrap_or_else(|why| panic!("{why}"));
    streams.iter_mut().find(|stream| stream.config.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn consumer(facts: &mut Facts) -> &mut ConsumerFacts {
    &mut facts.consumers.as_mut().unwrap_or_else(|why| panic!("{why}"))[0]
}

fn workers(facts: &mut Facts) -> &mut Vec<WorkerFacts> {
    facts.workers.as_mut().unwrap_or_else(|why| panic!("{why}"))
}

#[test]
fn a_good_deployment_has_no_problems() {
    assert_eq!(found(|_| {}), []);
    let findings = run(&good());
    assert_eq!(findings.len(), CHECKS.len());
}

#[test]
fn a_server_with_known_vulnerabilities() {
    for version in ["2.9.25", "2.11.16", "2.12.11", "2.14.2", "2.15.0-RC.1"] {
        let problems = found(|facts| facts.server_version = version.into());
        let old = version != "2.15.0-RC.1";
        assert_eq!(problems.len(), usize::from(old), "{version}: {problems:?}");
    }
    for version in ["2.12.12", "2.14.3", "2.15.0", "3.0.0"] {
        assert_eq!(found(|facts| facts.server_version = version.into()), [], "{version}");
    }
    finds("server", Level::Unknown, "latest", |facts| facts.server_version = "latest".into());
}

#[test]
fn a_disk_synced_after_the_confirmation() {
    let late = |facts: &mut Facts| facts.disk = Ok(Disk { sync_always: false, sync_seconds: 120 });
    finds("disk", Level::Danger, "every 120 s", late);
    let replicated = found(|facts| {
        late(facts);
        facts.streams.iter_mut().flatten().for_each(|stream| stream.config.num_replicas = 3);
    });
    assert_eq!(replicated, []);
    finds("disk", Level::Unknown, "no monitoring address", |facts| {
        facts.disk = Err("no monitoring address given".into())
    });
}

#[test]
fn a_clock_that_is_off() {
    finds("clock", Level::Warning, "+1.5 s", |facts| facts.clock_ahead = Ok(1.5));
    finds("clock", Level::Warning, "-2.0 s", |facts| facts.clock_ahead = Ok(-2.0));
    finds("clock", Level::Danger, "+31.0 s", |facts| facts.clock_ahead = Ok(31.0));
    finds("clock", Level::Unknown, "silent", |facts| facts.clock_ahead = Err("silent".into()));
}

#[test]
fn a_connection_without_a_workers_permissions() {
    let deny = |facts: &mut Facts| {
        let publish = Lists { allow: vec![], deny: vec!["inferbus.dlq.>".into()] };
        facts.permissions = Ok(Permissions { publish, ..Permissions::default() });
    };
    finds("permissions", Level::Danger, "publish inferbus.dlq.cams.*", deny);
    let not_asked = found(|facts| {
        deny(facts);
        facts.as_worker = false;
    });
    assert_eq!(not_asked, []);
}

#[test]
fn a_stream_that_takes_requests() {
    let take = |subjects: &[&str]| {
        let subjects: Vec<String> = subjects.iter().map(|&subject| subject.to_owned()).collect();
        move |facts: &mut Facts| {
            let config = Config { name: "GREEDY".into(), subjects, ..Config::default() };
            facts
                .streams
                .iter_mut()
                .for_each(|streams| streams.push(StreamFacts { config: config.clone(), messages: 0 }));
        }
    };
    finds("capture", Level::Danger, "infer.*", take(&["infer.>"]));
    finds("capture", Level::Danger, "GREEDY takes >", take(&["other", ">"]));
    assert_eq!(found(take(&["other.>"])), []);
    let asked = found(|facts| {
        let route = Route::parse(br#"{"subject":"ask.*","model":"digits"}"#).map_err(|problems| problems.to_string());
        let name: RouteName = "asked".parse().unwrap_or_else(|fault| panic!("{fault}"));
        facts.routes.iter_mut().for_each(|routes| routes.push(RouteFacts { name: name.clone(), route: route.clone() }));
        take(&["ask.7"])(facts);
    });
    assert!(
        matches!(asked.as_slice(), [("capture", Level::Danger, message)] if message.contains("the route asked")),
        "{asked:?}"
    );
}

#[test]
fn streams_with_settings_that_break_guarantees() {
    let results = "INFERBUS_RESULTS_cams";
    finds("routes", Level::Danger, "retention interest", |facts| {
        stream(facts, results).config.retention = RetentionPolicy::Interest;
    });
    finds("routes", Level::Danger, "duplicate window", |facts| {
        stream(facts, results).config.duplicate_window = Duration::ZERO;
    });
    finds("routes", Level::Danger, "max age", |facts| {
        stream(facts, results).config.max_age = Duration::from_secs(1);
    });
    finds("routes", Level::Danger, "subjects", |facts| {
        stream(facts, "SENSORS").config.subjects = vec!["elsewhere".into()];
    });
    finds("routes", Level::Danger, "misses its stream INFERBUS_RESULTS_cams", |facts| {
        facts.streams.iter_mut().for_each(|streams| streams.retain(|stream| stream.config.name != results));
    });
    finds("routes", Level::Danger, "misses its consumer inferbus-cams", |facts| facts.consumers = Ok(vec![]));
    finds("routes", Level::Danger, "max deliver", |facts| consumer(facts).config.max_deliver = 3);
}

#[test]
fn a_route_that_cannot_be_read() {
    let found = found(|facts| {
        facts.routes = Ok(vec![RouteFacts { name: name(), route: Err("no subject".into()) }]);
    });
    // Its consumer may be in use.
    assert!(
        matches!(found.as_slice(), [("routes", Level::Danger, message)] if message.contains("no subject")),
        "{found:?}"
    );
}

#[test]
fn pending_messages_without_a_worker() {
    let idle = |facts: &mut Facts| (consumer(facts).pending, consumer(facts).waiting) = (7, 0);
    assert_eq!(found(idle), [], "a ready worker takes them");
    let found = found(|facts| {
        idle(facts);
        workers(facts)[0].status.ready = false;
        workers(facts)[0].status.unready = vec!["no".into()];
    });
    let checks: Vec<_> = found.iter().map(|(check, level, _)| (*check, *level)).collect();
    assert_eq!(checks, [("readers", Level::Danger), ("workers", Level::Warning)], "{found:?}");
}

#[test]
fn a_consumer_whose_route_is_gone() {
    finds("leftovers", Level::Warning, "inferbus-old of the stream SENSORS", |facts| {
        let old = ConsumerFacts { name: "inferbus-old".into(), ..consumer(facts).clone() };
        let own = ConsumerFacts { name: "reader".into(), ..consumer(facts).clone() };
        facts.consumers.iter_mut().for_each(|consumers| consumers.extend([old.clone(), own.clone()]));
    });
}

#[test]
fn a_model_that_takes_longer_than_the_route_waits() {
    finds("ack-wait", Level::Warning, "digits 1.0.0", |facts| {
        workers(facts)[0].status.models[0].p99_micros = Some(31_000_000);
    });
}

#[test]
fn dead_letters() {
    finds("dead-letters", Level::Warning, "3 dead letters", |facts| stream(facts, "INFERBUS_DLQ").messages = 3);
}

#[test]
fn a_version_that_cannot_be_loaded() {
    finds("catalog", Level::Danger, "digits cannot be loaded: gone", |facts| {
        facts.models = Ok(vec![ModelFacts { name: "digits".into(), problem: Some("gone".into()) }]);
    });
}

#[test]
fn workers_with_problems() {
    finds("workers", Level::Warning, "no worker answers", |facts| workers(facts).clear());
    finds("workers", Level::Warning, "does not follow the catalog: lost", |facts| {
        workers(facts)[0].status.catalog = Some("lost".into());
    });
    finds("workers", Level::Warning, "serves an older version of digits: bad", |facts| {
        workers(facts)[0].status.models[0].error = Some("bad".into());
    });
    finds("versions", Level::Warning, "1 of 0.1.0, 1 of 0.2.0", |facts| workers(facts).push(worker("0.2.0")));
}

#[test]
fn unreadable_facts_are_reported() {
    let found = found(|facts| {
        facts.streams = Err("forbidden".into());
        facts.consumers = Err("forbidden".into());
    });
    assert!(
        found.iter().all(|(_, level, message)| *level == Level::Unknown && message.contains("forbidden")),
        "{found:?}"
    );
    let checks: Vec<_> = found.iter().map(|(check, ..)| *check).collect();
    assert_eq!(checks, ["capture", "readers", "leftovers", "dead-letters"]);
}
