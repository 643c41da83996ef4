//! Following a catalog on a real server through every event that silences a watch.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::support::{Server, models_bucket, name, soon};
use async_nats::jetstream;
use futures_util::TryStreamExt;
use inferbus_catalog::{Catalog, Changes, FollowOptions, Follower, FollowerState, Route};

/// Long enough to exclude the comparison: every change in these tests comes through the watch.
const NEVER: FollowOptions =
    FollowOptions { reconcile: Duration::from_secs(3600), coalesce: Duration::from_millis(50) };
const OFTEN: FollowOptions =
    FollowOptions { reconcile: Duration::from_millis(100), coalesce: Duration::from_millis(1) };

async fn next(follower: &mut Follower) -> Changes {
    soon("a wake", follower.changed()).await
}

/// Waits until a model is among the changes; other changes may precede it.
async fn until_changed(follower: &mut Follower, model: &str) {
    while !next(follower).await.models.contains(model) {}
}

async fn until_state(follower: &Follower, wanted: fn(&FollowerState) -> bool) -> FollowerState {
    let reached = async {
        loop {
            match follower.state() {
                state if wanted(&state) => return state,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    soon("a state", reached).await
}

async fn put(client: &async_nats::Client, key: &str, value: &str) -> u64 {
    models_bucket(client).await.put(key, value.to_owned().into()).await.unwrap()
}

fn only(model: &str) -> Changes {
    Changes { models: BTreeSet::from([name(model)]), routes: false }
}

#[tokio::test]
async fn the_first_wake_names_everything_and_the_next_ones_what_changed() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let mut empty = catalog.follow(NEVER);
    assert_eq!(next(&mut empty).await, Changes { routes: true, ..Default::default() });

    put(&client, "a", "1.0.0").await;
    put(&client, "b.2.0.0", "{}").await;
    let mut follower = catalog.follow(NEVER);
    let all = next(&mut follower).await;
    assert_eq!(all, Changes { models: BTreeSet::from([name("a"), name("b")]), routes: true });
    assert_eq!(follower.state(), FollowerState::Following);

    put(&client, "c", "1.0.0").await;
    assert_eq!(next(&mut follower).await, only("c"));
    put(&client, "b.2.0.0", "{ }").await;
    assert_eq!(next(&mut follower).await, only("b"));
    models_bucket(&client).await.delete("a").await.unwrap();
    assert_eq!(next(&mut follower).await, only("a"));
    put(&client, "Not-A-Model", "x").await;
    let route = Route::parse(br#"{"subject":"in","model":"a"}"#).unwrap();
    catalog.put_route(&"r".parse().unwrap(), &route).await.unwrap();
    assert_eq!(next(&mut follower).await, Changes { routes: true, ..Default::default() });
}

#[tokio::test]
async fn a_thousand_puts_cost_a_few_wakes_and_the_last_one_wins() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let mut follower = catalog.follow(NEVER);
    next(&mut follower).await;
    let bucket = models_bucket(&client).await;
    let (begun, mut wakes) = (Instant::now(), 0);
    let puts = async {
        for patch in 1..=1000 {
            bucket.put("digits", format!("1.0.{patch}").into()).await.unwrap();
        }
    };
    let reads = async {
        loop {
            assert_eq!(next(&mut follower).await, only("digits"));
            wakes += 1;
            let (pointer, _) = catalog.pointer(&name("digits")).await.unwrap().unwrap();
            if pointer.unwrap().version.to_string() == "1.0.1000" {
                break;
            }
        }
    };
    tokio::join!(puts, reads);
    // On every machine two wakes are at least this far apart.
    let most = begun.elapsed().as_millis() / NEVER.coalesce.as_millis() + 2;
    assert!(wakes <= most, "{wakes} wakes for 1,000 puts, at most {most} are expected");
}

#[tokio::test]
async fn a_watch_that_went_silent_is_found_out_and_replaced() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let mut follower = catalog.follow(OFTEN);
    next(&mut follower).await;
    let stream = jetstream::new(client.clone()).get_stream("KV_models").await.unwrap();
    let watchers: Vec<String> = stream.consumer_names().try_collect().await.unwrap();
    assert!(!watchers.is_empty());
    for watcher in watchers {
        stream.delete_consumer(&watcher).await.unwrap();
    }
    put(&client, "digits", "1.0.0").await;
    assert_eq!(next(&mut follower).await, only("digits"));
}

#[tokio::test]
async fn a_key_that_vanishes_without_a_trace_is_noticed() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    put(&client, "gone", "1.0.0").await;
    put(&client, "stays", "1.0.0").await;
    let mut follower = catalog.follow(OFTEN);
    next(&mut follower).await;
    let stream = jetstream::new(client.clone()).get_stream("KV_models").await.unwrap();
    stream.purge().filter("$KV.models.gone").await.unwrap();
    assert_eq!(next(&mut follower).await, only("gone"));
    assert!(!catalog.is_withdrawn(&name("gone")).await.unwrap(), "no client deleted it, it was lost");
}

#[tokio::test]
async fn a_bucket_that_is_deleted_and_made_again_is_followed_again() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let revision = put(&client, "digits", "1.0.0").await;
    let mut follower = catalog.follow(OFTEN);
    next(&mut follower).await;

    jetstream::new(client.clone()).delete_key_value("models").await.unwrap();
    let state = until_state(&follower, |state| *state != FollowerState::Following).await;
    assert!(matches!(&state, FollowerState::Behind(why) if why.contains("`models` does not exist")), "{state:?}");

    Catalog::create(client.clone()).await.unwrap();
    // Another value at the same revision of the same key: only the age of the bucket tells them apart.
    assert_eq!(put(&client, "digits", "2.0.0").await, revision);
    until_changed(&mut follower, "digits").await;
    until_state(&follower, |state| *state == FollowerState::Following).await;
    assert_eq!(catalog.pointer(&name("digits")).await.unwrap().unwrap().0.unwrap().version.to_string(), "2.0.0");
    put(&client, "digits", "3.0.0").await;
    until_changed(&mut follower, "digits").await;
}

#[tokio::test]
async fn a_server_that_restarts_is_followed_again() {
    let mut server = Server::start();
    let (catalog, client) = server.catalog().await;
    put(&client, "digits", "1.0.0").await;
    let mut follower = catalog.follow(OFTEN);
    next(&mut follower).await;
    server.kill();
    until_state(&follower, |state| *state != FollowerState::Following).await;
    server.restart();
    put(&server.connect().await, "digits", "1.1.0").await;
    until_changed(&mut follower, "digits").await;
    until_state(&follower, |state| *state == FollowerState::Following).await;
}

#[tokio::test]
async fn who_was_cut_off_goes_on_where_he_was() {
    let mut server = Server::start();
    let (catalog, client) = server.catalog().await;
    for version in ["1.0.0", "1.1.0"] {
        put(&client, "old", version).await;
    }
    let mut follower = catalog.follow(NEVER);
    next(&mut follower).await;
    server.kill();
    until_state(&follower, |state| *state != FollowerState::Following).await;
    server.restart();
    put(&server.connect().await, "new", "1.0.0").await;
    assert_eq!(next(&mut follower).await, only("new"), "known documents are not read again");
    until_state(&follower, |state| *state == FollowerState::Following).await;
}

#[tokio::test]
async fn a_server_that_lost_its_last_messages_is_read_anew() {
    let mut server = Server::start();
    let (catalog, client) = server.catalog().await;
    put(&client, "old", "1.0.0").await;
    server.kill();
    let copy = server.copy();
    server.restart();
    let lost = put(&server.connect().await, "lost", "1.0.0").await;
    let mut follower = catalog.follow(NEVER);
    until_changed(&mut follower, "lost").await;
    server.kill();
    until_state(&follower, |state| *state != FollowerState::Following).await;
    server.restart_from(copy);
    let client = server.connect().await;
    assert_eq!(put(&client, "other", "1.0.0").await, lost, "the number of the lost message belongs to another one");
    // Both are named: the one is there, and the other is not.
    let mut named = BTreeSet::new();
    while named.len() < 2 {
        named.extend(next(&mut follower).await.models);
    }
    assert_eq!(named, BTreeSet::from([name("lost"), name("other")]));
}

#[tokio::test]
async fn a_server_that_lost_everything_is_followed_again() {
    let mut server = Server::start();
    let (catalog, client) = server.catalog().await;
    put(&client, "digits", "1.0.0").await;
    let mut follower = catalog.follow(OFTEN);
    next(&mut follower).await;
    server.kill();
    server.restart_empty();
    let (_, client) = server.catalog().await;
    put(&client, "digits", "1.1.0").await;
    until_changed(&mut follower, "digits").await;
    until_state(&follower, |state| *state == FollowerState::Following).await;
}

#[tokio::test]
async fn a_wake_that_is_given_up_loses_nothing() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let mut follower = catalog.follow(NEVER);
    next(&mut follower).await;
    put(&client, "digits", "1.0.0").await;
    for _ in 0..100 {
        let first = tokio::select! {
            biased;
            changes = follower.changed() => Some(changes),
            () = tokio::task::yield_now() => None,
        };
        if let Some(changes) = first {
            assert_eq!(changes, only("digits"));
            return;
        }
    }
    assert_eq!(next(&mut follower).await, only("digits"));
}

#[tokio::test]
async fn more_workers_can_follow_than_a_stream_has_consumers_by_itself() {
    const BY_ITSELF: usize = 1000;
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let context = jetstream::new(client);
    for stream in ["KV_models", "KV_routes"] {
        let stream = context.get_stream(stream).await.unwrap();
        for _ in 0..BY_ITSELF {
            // They stay, as those of workers do.
            let inactive_threshold = Duration::from_secs(3600);
            let another =
                jetstream::consumer::pull::Config { memory_storage: true, inactive_threshold, ..Default::default() };
            soon("a consumer", stream.create_consumer(another)).await.unwrap();
        }
    }
    let mut follower = catalog.follow(NEVER);
    assert_eq!(next(&mut follower).await, Changes { routes: true, ..Default::default() });
}
