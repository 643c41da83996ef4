//! Artifacts in a real Object Store: damage is reported, no read hangs, other clients read the same.

use std::sync::Arc;

use crate::support::{Server, artifacts_stream, digits, object_store, push, put_meta, soon};
use async_nats::jetstream;
use async_nats::jetstream::object_store::ObjectInfo;
use inferbus_catalog::{Artifact, Bundle, Catalog, CatalogFault, Digest, Progress, PushOptions, PushPhase, Role};
use serde_json::json;
use tokio::io::AsyncReadExt;

struct Stored {
    server: Server,
    catalog: Catalog,
    client: async_nats::Client,
    bundle: Bundle,
}

impl Stored {
    async fn new() -> Self {
        let server = Server::start();
        let (catalog, client) = server.catalog().await;
        let bundle = digits("1.0.0");
        push(&catalog, &bundle).await.unwrap();
        Self { server, catalog, client, bundle }
    }

    fn model(&self) -> Artifact {
        self.bundle.entry.model
    }

    async fn read(&self) -> Result<bytes::Bytes, CatalogFault> {
        soon("reading an artifact", self.catalog.artifact(&self.model())).await
    }

    async fn info(&self) -> ObjectInfo {
        object_store(&self.client).await.info(self.model().digest.to_string()).await.unwrap()
    }

    /// Sequences of the model's chunks.
    async fn chunks(&self) -> Vec<u64> {
        let subject = format!("$O.artifacts.C.{}", self.info().await.nuid);
        let (stream, mut found) = (artifacts_stream(&self.client).await, Vec::new());
        while let Ok(message) =
            stream.get_first_raw_message_by_subject(&subject, found.last().map_or(0, |last| last + 1)).await
        {
            found.push(message.sequence);
        }
        found
    }
}

#[tokio::test]
async fn other_clients_read_what_was_pushed_and_the_other_way_round() {
    let stored = Stored::new().await;
    let expected = stored.bundle.file(Role::Model).unwrap();
    assert_eq!(stored.read().await.unwrap(), expected);

    let objects = object_store(&stored.client).await;
    let mut object = objects.get(stored.model().digest.to_string()).await.unwrap();
    let mut bytes = Vec::new();
    soon("reading with another client", object.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(&bytes, expected);

    let other = Artifact { digest: Digest::of(b"by hand"), size: 7 };
    objects.put(other.digest.to_string().as_str(), &mut &b"by hand"[..]).await.unwrap();
    assert_eq!(soon("reading", stored.catalog.artifact(&other)).await.unwrap().as_ref(), b"by hand");
}

#[tokio::test]
async fn what_is_missing_or_deleted_is_said() {
    let stored = Stored::new().await;
    let nowhere = Artifact { digest: Digest::of(b"nowhere"), size: 7 };
    let fault = soon("reading", stored.catalog.artifact(&nowhere)).await.unwrap_err();
    assert!(matches!(fault, CatalogFault::MissingArtifact { .. }) && !fault.is_transient(), "{fault}");
    object_store(&stored.client).await.delete(stored.model().digest.to_string()).await.unwrap();
    assert!(matches!(stored.read().await, Err(CatalogFault::MissingArtifact { .. })));
    let huge = Artifact { size: u64::MAX, ..stored.model() };
    assert!(matches!(stored.catalog.artifact(&huge).await, Err(CatalogFault::TooLarge { .. })));
}

#[tokio::test]
async fn a_truncated_object_ends_the_read() {
    let stored = Stored::new().await;
    let chunks = stored.chunks().await;
    assert!(chunks.len() > 3, "the model should have several chunks, it has {}", chunks.len());
    let last = *chunks.last().unwrap();
    artifacts_stream(&stored.client).await.delete_message(last).await.unwrap();
    let Err(CatalogFault::Truncated { found, expected, .. }) = stored.read().await else {
        panic!("the artifact is truncated");
    };
    assert!(0 < found && found < expected);
    for chunk in &chunks[..chunks.len() - 1] {
        artifacts_stream(&stored.client).await.delete_message(*chunk).await.unwrap();
    }
    assert!(matches!(stored.read().await, Err(CatalogFault::Truncated { found: 0, .. })));
}

#[tokio::test]
async fn other_content_under_the_digest_is_found_out() {
    let stored = Stored::new().await;
    let digest = stored.model().digest.to_string();
    let objects = object_store(&stored.client).await;
    let mut same_size = vec![7; stored.model().size as usize];
    objects.put(digest.as_str(), &mut same_size.as_slice()).await.unwrap();
    assert!(matches!(stored.read().await, Err(CatalogFault::WrongDigest { .. })));
    same_size.push(7);
    objects.put(digest.as_str(), &mut same_size.as_slice()).await.unwrap();
    assert!(matches!(stored.read().await, Err(CatalogFault::WrongSize { .. })));

    objects.put(digest.as_str(), &mut &b"short"[..]).await.unwrap();
    assert!(matches!(stored.read().await, Err(CatalogFault::WrongSize { found: 5, .. })));

    objects.put(digest.as_str(), &mut same_size.as_slice()).await.unwrap();
    // The object's own words about its size are checked against its chunks, too.
    let mut info = serde_json::to_value(stored.info().await).unwrap();
    info["size"] = json!(stored.model().size);
    put_meta(&stored.client, &digest, &info).await;
    assert!(matches!(stored.read().await, Err(CatalogFault::WrongSize { .. })));
}

#[tokio::test]
async fn the_digest_in_the_metadata_is_never_trusted() {
    let stored = Stored::new().await;
    let digest = stored.model().digest.to_string();
    let mut info = serde_json::to_value(stored.info().await).unwrap();
    info["digest"] = json!(null);
    put_meta(&stored.client, &digest, &info).await;
    assert_eq!(stored.read().await.unwrap(), stored.bundle.file(Role::Model).unwrap());

    let wrong = vec![7; stored.model().size as usize];
    let nuid = object_store(&stored.client).await.put("other", &mut wrong.as_slice()).await.unwrap().nuid;
    info["nuid"] = json!(nuid);
    put_meta(&stored.client, &digest, &info).await;
    assert!(matches!(stored.read().await, Err(CatalogFault::WrongDigest { .. })));
}

#[tokio::test]
async fn links_are_refused() {
    let stored = Stored::new().await;
    let digest = stored.model().digest.to_string();
    let links = [
        json!({ "bucket": "artifacts", "name": digest }),
        json!({ "bucket": "artifacts" }),
        json!({ "bucket": "elsewhere", "name": "x" }),
    ];
    for link in links {
        let mut info = serde_json::to_value(stored.info().await).unwrap();
        info["options"] = json!({ "link": link });
        put_meta(&stored.client, &digest, &info).await;
        assert!(matches!(stored.read().await, Err(CatalogFault::LinkedArtifact { .. })));
    }
}

#[tokio::test]
async fn metadata_that_makes_no_sense_is_refused() {
    let stored = Stored::new().await;
    let digest = stored.model().digest.to_string();
    for nuid in ["", ">", "*", "a.b"] {
        let mut info = serde_json::to_value(stored.info().await).unwrap();
        info["nuid"] = json!(nuid);
        put_meta(&stored.client, &digest, &info).await;
        assert!(matches!(stored.read().await, Err(CatalogFault::Damaged { .. })));
    }
    put_meta(&stored.client, &digest, &json!("not an object")).await;
    assert!(matches!(stored.read().await, Err(CatalogFault::Damaged { .. })));
}

#[tokio::test]
async fn empty_chunks_cannot_keep_a_reader_busy() {
    let stored = Stored::new().await;
    let digest = stored.model().digest.to_string();
    let mut info = serde_json::to_value(stored.info().await).unwrap();
    info["nuid"] = json!("empty");
    jetstream::new(stored.client.clone()).publish("$O.artifacts.C.empty", "".into()).await.unwrap().await.unwrap();
    put_meta(&stored.client, &digest, &info).await;
    assert!(matches!(stored.read().await, Err(CatalogFault::Damaged { .. })));
}

/// Replaces an object by `content` while a push is in the middle of checking it.
async fn push_while_replaced(stored: &Stored, content: Arc<Vec<u8>>) -> inferbus_catalog::Pushed {
    let mut replaced = false;
    let (port, digest) = (stored.server.port, stored.model().digest.to_string());
    let mut progress = |progress: Progress| {
        if !replaced && progress.phase == PushPhase::Checking && progress.role == Role::Model {
            replaced = true;
            let (content, digest) = (content.clone(), digest.clone());
            // The push waits meanwhile, so the object is certainly replaced between two chunks.
            std::thread::spawn(move || replace_object(port, &digest, &content)).join().unwrap();
        }
    };
    let pushed =
        soon("the push", stored.catalog.push(&stored.bundle, PushOptions::default(), &mut progress)).await.unwrap();
    assert!(replaced);
    pushed
}

fn replace_object(port: u16, digest: &str, content: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = async_nats::connect(format!("127.0.0.1:{port}")).await.unwrap();
        object_store(&client).await.put(digest, &mut &content[..]).await.unwrap();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_by_the_same_while_it_is_read_is_read_again() {
    let stored = Stored::new().await;
    let content = Arc::new(stored.bundle.file(Role::Model).unwrap().to_vec());
    let pushed = push_while_replaced(&stored, content).await;
    assert_eq!((pushed.uploaded, pushed.skipped, pushed.entry_written), (0, 3, false));
    assert!(stored.read().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_is_replaced_by_something_else_while_it_is_read_is_repaired() {
    let stored = Stored::new().await;
    let pushed = push_while_replaced(&stored, Arc::new(vec![7; stored.model().size as usize])).await;
    // The entry is written again, so that workers look at it again.
    assert_eq!((pushed.uploaded, pushed.skipped, pushed.entry_written), (1, 2, true));
    assert!(stored.read().await.is_ok());
}
