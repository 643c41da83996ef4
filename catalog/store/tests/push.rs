//! Push, activate and roll back on a real server, alone and against one another.

use std::collections::HashMap;

use crate::support::{
    Server, artifacts_stream, bundle, digits, models_bucket, name, object_store, push, soon, version,
};
use async_nats::jetstream::{self, kv};
use inferbus_catalog::{
    Activate, Catalog, CatalogFault, Digest, Pointer, Progress, PushOptions, PushPhase, Role, Route, RouteName,
};

#[tokio::test]
async fn a_catalog_is_created_once_and_never_changed() {
    let server = Server::start();
    let client = server.connect().await;
    let fault = Catalog::open(client.clone()).await.err().unwrap();
    assert!(matches!(fault, CatalogFault::MissingBucket { bucket: "models" }) && !fault.is_transient(), "{fault}");
    let jetstream = jetstream::new(client.clone());
    jetstream.create_key_value(kv::Config { bucket: "routes".into(), history: 3, ..Default::default() }).await.unwrap();
    let text = Catalog::create(client.clone()).await.err().unwrap().to_string();
    assert!(text.contains("keeps 3 revisions") && text.contains("needs 16"), "{text}");
    jetstream.delete_key_value("routes").await.unwrap();
    jetstream
        .create_key_value(kv::Config { bucket: "routes".into(), history: 40, ..Default::default() })
        .await
        .unwrap();
    Catalog::create(client.clone()).await.unwrap();
    Catalog::create(client.clone()).await.unwrap();
    let history = |store: &kv::Store| store.stream.cached_info().config.max_messages_per_subject;
    assert_eq!(history(&jetstream.get_key_value("routes").await.unwrap()), 40);
    assert_eq!(history(&models_bucket(&client).await), 16);
    assert!(Catalog::open(client).await.unwrap().models().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_server_is_a_transient_fault() {
    let mut server = Server::start();
    let (catalog, _) = server.catalog().await;
    server.kill();
    let fault = soon("a read without a server", catalog.models()).await.unwrap_err();
    assert!(fault.is_transient(), "{fault}");
}

#[tokio::test]
async fn push_then_activate_then_roll_back() {
    let server = Server::start();
    let (catalog, _) = server.catalog().await;
    let digits_name = name("digits");
    let (one, two) = (digits("1.0.0"), digits("1.1.0"));
    let pushed = push(&catalog, &one).await.unwrap();
    assert_eq!((pushed.uploaded, pushed.skipped, pushed.entry_written), (3, 0, true));
    assert_eq!(pushed.digest, one.entry.digest());
    assert_eq!(catalog.pointer(&digits_name).await.unwrap(), None, "a push must not activate anything");

    let again = push(&catalog, &one).await.unwrap();
    assert_eq!((again.uploaded, again.skipped, again.entry_written), (0, 3, false));
    let next = push(&catalog, &two).await.unwrap();
    assert_eq!((next.uploaded, next.skipped), (1, 2), "model and post are the same files");

    let fault = catalog.rollback(&digits_name).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::NoPointer { .. }), "{fault}");
    let first = catalog.activate(&digits_name, &version("1.0.0"), Activate::default()).await.unwrap();
    assert_eq!((first.from, first.to.to_bytes()), (None, b"1.0.0".to_vec()));
    assert!(matches!(catalog.rollback(&digits_name).await, Err(CatalogFault::NothingToRollBack { .. })));
    let pinned = Activate { digest: Some(two.entry.digest()), ..Default::default() };
    let second = catalog.activate(&digits_name, &version("1.1.0"), pinned).await.unwrap();
    assert_eq!(second.from.unwrap().version, version("1.0.0"));
    let same = catalog.activate(&digits_name, &version("1.1.0"), pinned).await.unwrap();
    assert_eq!(same.revision, second.revision, "activating the active version changes nothing");

    let stale = Activate { revision: Some(first.revision), ..Default::default() };
    let fault = catalog.activate(&digits_name, &version("1.0.0"), stale).await.unwrap_err();
    assert!(matches!(&fault, CatalogFault::PointerRaced { revision, .. } if *revision == second.revision), "{fault}");

    let back = catalog.rollback(&digits_name).await.unwrap();
    assert_eq!((back.to.version, back.to.digest), (version("1.0.0"), None));
    let forth = catalog.rollback(&digits_name).await.unwrap();
    assert_eq!((forth.to.version.clone(), forth.to.digest), (version("1.1.0"), pinned.digest));
    let history = catalog.history(&digits_name).await.unwrap();
    let versions: Vec<String> =
        history.iter().map(|item| item.pointer.clone().unwrap().unwrap().version.to_string()).collect();
    assert_eq!(versions, ["1.0.0", "1.1.0", "1.0.0", "1.1.0"]);

    let models = catalog.models().await.unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!(models[0].versions, [version("1.0.0"), version("1.1.0")]);
    assert_eq!(models[0].active.as_ref().unwrap().0.as_ref().unwrap(), &forth.to);
    assert_eq!(catalog.active_names().await.unwrap(), [digits_name]);
}

#[tokio::test]
async fn the_same_version_with_other_content_needs_force() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let (mine, other) =
        (bundle("m", "1.0.0", b"mine", b"pre", b"post"), bundle("m", "1.0.0", b"other", b"pre", b"post"));
    push(&catalog, &mine).await.unwrap();
    let fault = push(&catalog, &other).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::VersionTaken { .. }), "{fault}");
    let missing = catalog.artifact(&other.entry.model).await;
    assert!(matches!(missing, Err(CatalogFault::MissingArtifact { .. })), "a refused push must not upload");
    let forced = catalog.push(&other, PushOptions { force: true }, &mut |_| {}).await.unwrap();
    assert_eq!((forced.uploaded, forced.skipped, forced.entry_written), (1, 2, true));
    let (_, digest, _) = catalog.entry(&name("m"), &version("1.0.0")).await.unwrap();
    assert_eq!(digest, other.entry.digest());

    models_bucket(&client).await.put("m.1.0.0", "{".into()).await.unwrap();
    assert!(matches!(push(&catalog, &other).await, Err(CatalogFault::VersionTaken { stored: None, .. })));
    models_bucket(&client).await.delete("m.1.0.0").await.unwrap();
    assert!(push(&catalog, &other).await.unwrap().entry_written, "a deleted version is free");
}

#[tokio::test]
async fn what_operators_put_by_hand_is_read_and_its_problems_are_named() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let bucket = models_bucket(&client).await;
    let (m, one) = (name("m"), version("1.0.0"));
    let fault = catalog.entry(&m, &one).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::UnknownVersion { .. }), "{fault}");
    for (text, expected) in [
        ("{\"model\":", "not valid JSON"),
        ("{\"modle\":{}}", "modle: unknown key"),
        ("{\"modle\":{}}", "model: missing"),
        ("{\"model\":{\"digest\":\"x\",\"size\":-1}}", "model.digest: \"x\" is not a digest"),
        ("{\"model\":{\"digest\":\"x\",\"size\":-1}}", "model.size: expected a whole number"),
    ] {
        bucket.put("m.1.0.0", text.into()).await.unwrap();
        let fault = catalog.entry(&m, &one).await.unwrap_err();
        assert!(matches!(fault, CatalogFault::BadEntry { .. }) && fault.to_string().contains(expected), "{fault}");
    }
    let fault = catalog.activate(&m, &one, Activate::default()).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::BadEntry { .. }), "{fault}");

    bucket.put("m", "1.0.0\n".into()).await.unwrap();
    assert_eq!(catalog.pointer(&m).await.unwrap().unwrap().0, Pointer::parse(b"1.0.0"));
    bucket.put("m", "newest".into()).await.unwrap();
    assert!(catalog.pointer(&m).await.unwrap().unwrap().0.is_err());
    assert!(!catalog.is_withdrawn(&m).await.unwrap());
    bucket.delete("m").await.unwrap();
    assert_eq!(catalog.pointer(&m).await.unwrap(), None);
    assert!(catalog.is_withdrawn(&m).await.unwrap());
    bucket.put("m.latest", "x".into()).await.unwrap();
    bucket.put("M.1.0.0", "x".into()).await.unwrap();
    let models = catalog.models().await.unwrap();
    assert_eq!(models.len(), 1);
    assert_eq!((models[0].active.clone(), models[0].unrecognized_keys.clone()), (None, vec!["m.latest".to_owned()]));
}

#[tokio::test]
async fn only_what_can_be_loaded_is_activated() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let bundle = digits("1.0.0");
    push(&catalog, &bundle).await.unwrap();
    let (digits, one) = (name("digits"), version("1.0.0"));
    let fault = catalog.activate(&digits, &version("9.9.9"), Activate::default()).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::UnknownVersion { .. }), "{fault}");
    let wanted = Activate { digest: Some(Digest::of(b"another")), ..Default::default() };
    let fault = catalog.activate(&digits, &one, wanted).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::WrongEntry { .. }), "{fault}");
    object_store(&client).await.delete(bundle.entry.model.digest.to_string()).await.unwrap();
    let fault = catalog.activate(&digits, &one, Activate::default()).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::MissingArtifact { .. }), "{fault}");
    assert_eq!(catalog.pointer(&digits).await.unwrap(), None);
}

#[tokio::test]
async fn of_two_operators_who_activate_at_once_exactly_one_wins() {
    let server = Server::start();
    let (mine, _) = server.catalog().await;
    let (yours, _) = server.catalog().await;
    let digits_name = name("digits");
    for minor in 0..4 {
        push(&mine, &digits(&format!("1.{minor}.0"))).await.unwrap();
    }
    let mut revision = 0;
    for round in 0..10 {
        // Neither version is the active one, so both really have to move the pointer.
        let (one, two) = if round % 2 == 0 { ("1.0.0", "1.1.0") } else { ("1.2.0", "1.3.0") };
        let (one, two, wanted) = (version(one), version(two), Activate { revision: Some(revision), digest: None });
        let (first, second) =
            tokio::join!(mine.activate(&digits_name, &one, wanted), yours.activate(&digits_name, &two, wanted));
        let (won, lost) = match (first, second) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            (Ok(first), Ok(second)) => panic!("both won: {first:?} {second:?}"),
            (Err(first), Err(second)) => panic!("neither won: {first} {second}"),
        };
        let CatalogFault::PointerRaced { now, revision: seen, .. } = lost else {
            panic!("{lost}");
        };
        assert_eq!((now, seen), (won.to.version.to_string(), won.revision));
        revision = won.revision;
    }
}

#[tokio::test]
async fn without_a_given_revision_two_activations_never_overwrite_unseen() {
    let server = Server::start();
    let (mine, _) = server.catalog().await;
    let (yours, _) = server.catalog().await;
    push(&mine, &digits("1.0.0")).await.unwrap();
    push(&mine, &digits("1.1.0")).await.unwrap();
    let (one, two, digits_name) = (version("1.0.0"), version("1.1.0"), name("digits"));
    let (first, second) = tokio::join!(
        mine.activate(&digits_name, &one, Activate::default()),
        yours.activate(&digits_name, &two, Activate::default()),
    );
    let history = mine.history(&digits_name).await.unwrap();
    let winners = [&first, &second].iter().filter(|result| result.is_ok()).count();
    assert_eq!(history.len(), winners, "{first:?} {second:?}");
    // If both succeeded then one came after the other and knew it.
    if let (Ok(first), Ok(second)) = (first, second) {
        let (earlier, later) = if first.revision < second.revision { (first, second) } else { (second, first) };
        assert_eq!(later.from, Some(earlier.to));
    }
}

/// Pushes and stops at the first report chosen by `when`, like a killed process.
async fn push_and_die(catalog: &Catalog, when: fn(&Progress) -> bool) {
    let catalog = catalog.clone();
    let task = tokio::spawn(async move {
        let mut progress = |progress: Progress| assert!(!when(&progress), "dying on purpose");
        catalog.push(&digits("1.0.0"), PushOptions::default(), &mut progress).await
    });
    assert!(soon("the dying push", task).await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_push_that_dies_leaves_nothing_visible_and_can_be_resumed() {
    let server = Server::start();
    let (catalog, _) = server.catalog().await;
    let bundle = digits("1.0.0");
    let model = bundle.entry.model;

    push_and_die(&catalog, |progress| progress.phase == PushPhase::Uploading && progress.done > 0).await;
    assert!(matches!(catalog.artifact(&model).await, Err(CatalogFault::MissingArtifact { .. })));
    assert!(catalog.models().await.unwrap().is_empty());

    push_and_die(&catalog, |progress| progress.role == Role::Pre && progress.phase == PushPhase::Stored).await;
    assert!(catalog.models().await.unwrap().is_empty());
    let fault = catalog.activate(&name("digits"), &version("1.0.0"), Activate::default()).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::UnknownVersion { .. }), "{fault}");

    push_and_die(&catalog, |progress| progress.role == Role::Post && progress.phase == PushPhase::Stored).await;
    assert!(catalog.models().await.unwrap().is_empty());

    let resumed = push(&catalog, &bundle).await.unwrap();
    assert_eq!((resumed.uploaded, resumed.skipped, resumed.entry_written), (0, 3, true));
    assert_eq!(catalog.artifact(&model).await.unwrap(), bundle.file(Role::Model).unwrap());
}

#[tokio::test]
async fn a_push_reports_every_byte_in_order() {
    let server = Server::start();
    let (catalog, _) = server.catalog().await;
    let bundle = digits("1.0.0");
    let mut steps: HashMap<(Role, PushPhase), Vec<u64>> = HashMap::new();
    let mut progress = |p: Progress| steps.entry((p.role, p.phase)).or_default().push(p.done);
    soon("a push", catalog.push(&bundle, PushOptions::default(), &mut progress)).await.unwrap();
    for step in [PushPhase::Uploading, PushPhase::Verifying] {
        let done = &steps[&(Role::Model, step)];
        assert!(done.len() > 3 && done.is_sorted(), "{done:?}");
        assert_eq!(*done.last().unwrap(), bundle.entry.model.size);
    }
    assert!(!steps.contains_key(&(Role::Model, PushPhase::Checking)), "there was nothing to check");
    assert_eq!(steps[&(Role::Post, PushPhase::Stored)].len(), 1);
}

#[tokio::test]
async fn two_pushes_of_the_same_at_once_both_succeed_and_leave_one_copy() {
    let server = Server::start();
    let (mine, client) = server.catalog().await;
    let (yours, _) = server.catalog().await;
    let bundle = digits("1.0.0");
    let (first, second) = tokio::join!(push(&mine, &bundle), push(&yours, &bundle));
    assert_eq!(first.unwrap().digest, second.unwrap().digest);
    assert_eq!(mine.artifact(&bundle.entry.model).await.unwrap(), bundle.file(Role::Model).unwrap());
    let stream = artifacts_stream(&client).await.get_info().await.unwrap();
    let copies = stream.state.bytes / bundle.entry.model.size;
    assert_eq!(copies, 1, "{} bytes are stored", stream.state.bytes);
}

#[tokio::test]
async fn an_emptied_or_damaged_object_is_repaired_by_the_next_push() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let bundle = digits("1.0.0");
    push(&catalog, &bundle).await.unwrap();
    let (_, _, before) = catalog.entry(&bundle.name, &bundle.version).await.unwrap();
    let nuid = object_store(&client).await.info(bundle.entry.model.digest.to_string()).await.unwrap().nuid;
    artifacts_stream(&client).await.purge().filter(format!("$O.artifacts.C.{nuid}")).await.unwrap();
    let repaired = push(&catalog, &bundle).await.unwrap();
    assert_eq!((repaired.uploaded, repaired.skipped, repaired.entry_written), (1, 2, true));
    let (_, _, after) = catalog.entry(&bundle.name, &bundle.version).await.unwrap();
    assert!(after > before, "workers only look again when the entry is written again");
}

#[tokio::test]
async fn routes_are_put_listed_and_deleted() {
    let server = Server::start();
    let (catalog, client) = server.catalog().await;
    let route = Route::parse(br#"{"subject":"in.*","model":"digits","output":"out.$1"}"#).unwrap();
    let (camera, hand): (RouteName, RouteName) = ("camera".parse().unwrap(), "by-hand".parse().unwrap());
    catalog.put_route(&camera, &route).await.unwrap();
    let feeding = Route { output: Some("in.x".to_owned()), ..route.clone() };
    assert!(matches!(catalog.put_route(&hand, &feeding).await, Err(CatalogFault::BadRoute { .. })));
    let routes = jetstream::new(client).get_key_value("routes").await.unwrap();
    routes.put("by-hand", "{}".into()).await.unwrap();
    let listed = catalog.routes().await.unwrap();
    assert_eq!(listed.iter().map(|route| route.name.to_string()).collect::<Vec<_>>(), ["by-hand", "camera"]);
    assert!(listed[0].route.is_err());
    assert_eq!(listed[1].route.as_ref().unwrap(), &route);
    catalog.delete_route(&hand).await.unwrap();
    assert!(matches!(catalog.delete_route(&hand).await, Err(CatalogFault::UnknownRoute { .. })));
    assert_eq!(catalog.routes().await.unwrap().len(), 1);
}
