//! A module beyond the bounds of the compiler: rejected at push and at load, while a neighbour is served. And the
//! cache of compiled code across restarts.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use inferbus_catalog::Digest;
use inferbus_sandbox::limits::COMPILE_TIME;
use inferbus_testkit::breadth::{Breadth, breadth};
use inferbus_testkit::compile_bombs as bombs;
use inferbus_tests::{BundleFolder, FIRST, PATIENCE, SECOND, Site, Worker, WorkerOptions, ask, has_message, heldout};
use serde_json::json;
use tokio::task::block_in_place;

/// Between two requests to the neighbour.
const BETWEEN: Duration = Duration::from_millis(5);

const SENTENCE: &str = "to compile: make the module smaller or split its functions";

/// 72 KB; its compilation soon exceeds 2 GiB.
fn bomb() -> Vec<u8> {
    bombs::module([bombs::joins(4000, 40_000)])
}

/// The worker's test below has the same compiler and the same bounds, so this one runs with all tests only.
#[tokio::test(flavor = "multi_thread")]
async fn push_refuses_a_compile_bomb() {
    if breadth() == Breadth::Change {
        return;
    }
    let site = Site::start().await;
    let folder = BundleFolder::new("bomb", FIRST).wasm("pre", &bomb(), "");
    let path = folder.path().to_str().expect("UTF-8");
    let ran = block_in_place(|| site.inferbus(&["push", path, "--activate"]));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.contains("a worker would reject the pre plugin: took more than 2 GiB of memory"), "{ran:?}");
    assert!(ran.stderr.contains(SENTENCE), "{ran:?}");
    assert_eq!(site.inferbus(&["ls", "--output", "json"]).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_refuses_a_compile_bomb_and_serves_on() {
    let site = Site::with_digits().await;
    let [worker] = site.workers(["one"]);
    let bomb = bomb();
    let named = Digest::of(&bomb);
    let artifacts = jetstream::new(site.client.clone()).get_object_store("artifacts").await.expect("the Object Store");
    artifacts.put(named.to_string().as_str(), &mut &bomb[..]).await.expect("the object is put");
    let mut entry = site.inferbus(&["show", "digits", FIRST, "--output", "json"]).json()["entry"].take();
    entry["pre"]["digest"] = json!(named);
    entry["pre"]["size"] = json!(bomb.len());
    site.put("models", "bomb.6.6.6", &entry.to_string()).await;
    site.put("models", "bomb", "6.6.6").await;

    let payload = heldout().payloads.swap_remove(0);
    // The compiler runs at a low priority, so on a busy machine it takes up to its own bound.
    let (mut answered, deadline) = (0, Instant::now() + COMPILE_TIME + PATIENCE);
    while !worker.log_text().contains(SENTENCE) {
        let answer = ask(&site.client, "infer.digits", payload.clone()).await;
        assert_eq!((answer.code, &*answer.version), (None, FIRST), "{}", answer.error);
        answered += 1;
        // Without a pause the requests would take the processor from the compiler.
        tokio::time::sleep(BETWEEN).await;
        assert!(Instant::now() < deadline, "the bomb was never refused; the log:\n{}", worker.log_text());
    }
    assert!(answered > 0);
    // Versions are still switched beside it.
    site.inferbus(&["activate", "digits", SECOND]).ok();
    block_in_place(|| {
        worker.wait_until("the other version", |line| has_message(line, "in service") && line["version"] == SECOND)
    });
    let status = site.inferbus(&["status", "--output", "json"]).json();
    let models = status[0]["models"].as_array().expect("models");
    let bomb = models.iter().find(|model| model["model"] == "bomb").expect("the bomb is listed");
    assert!(bomb["error"].as_str().is_some_and(|error| error.contains(SENTENCE)), "{bomb}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_started_again_compiles_nothing_that_nobody_touched() {
    let site = Site::with_digits().await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cache = folder.path().join("cache");
    let run = |origins: [&str; 2]| {
        let arguments = vec!["--cache".to_owned(), cache.to_str().expect("UTF-8").to_owned()];
        let worker = Worker::start_with(site.url(), WorkerOptions { arguments, ..WorkerOptions::default() });
        for (stage, origin) in ["pre", "post"].iter().zip(origins) {
            worker.wait_until(&format!("{stage} is {origin}"), |line| {
                has_message(line, "plugin loaded") && line["step"] == *stage && line["origin"] == origin
            });
        }
        worker
    };
    assert_eq!(block_in_place(|| run(["compiled"; 2]).stop()), Some(0));
    assert_eq!(block_in_place(|| run(["cached"; 2]).stop()), Some(0));
    for file in std::fs::read_dir(&cache).expect("the cache").map(|file| file.expect("a file").path()) {
        if file.is_file() && !file.ends_with("inferbus-cache.key") {
            let mut bytes = std::fs::read(&file).expect("a cached plugin");
            *bytes.last_mut().expect("bytes") ^= 1;
            std::fs::write(&file, bytes).expect("a touched file");
        }
    }
    let worker = block_in_place(|| run(["compiled"; 2]));
    block_in_place(|| worker.wait_for("it is not as it was written"));
    let answer = ask(&site.client, "infer.digits", heldout().payloads.swap_remove(0)).await;
    assert_eq!(answer.code, None, "{}", answer.error);
    assert_eq!(block_in_place(|| worker.stop()), Some(0));
    // Others could write there now: the worker logs this and does not use the folder.
    std::process::Command::new("chmod").arg("777").arg(&cache).status().expect("chmod runs");
    let worker = block_in_place(|| run(["compiled"; 2]));
    block_in_place(|| worker.wait_for("others can write the folder"));
}
