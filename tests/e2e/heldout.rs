//! The held-out digits through the whole system: exactly the predictions of Python's onnxruntime.

use futures_util::{StreamExt as _, stream};
use inferbus_tests::{FIRST, SECOND, Site, ask, digits, heldout, python, root, run, say};

/// The least accuracy; training reached more.
const ACCURACY: f64 = 0.96;

const IN_FLIGHT: usize = 64;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_predicts_what_python_predicts() {
    predicts_what_python_predicts(FIRST).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_version_predicts_what_python_predicts() {
    predicts_what_python_predicts(SECOND).await;
}

async fn predicts_what_python_predicts(version: &str) {
    let site = Site::start().await;
    let folder = digits(version);
    site.inferbus(&["push", folder.to_str().expect("UTF-8"), "--activate"]).ok();
    let workers = site.workers(["one", "two"]);
    let heldout = heldout();

    let answers = stream::iter(heldout.payloads.clone()).map(|payload| ask(&site.client, "infer.digits", payload));
    let answers: Vec<_> = answers.buffered(IN_FLIGHT).collect().await;
    let labels: Vec<u64> = answers.iter().map(|answer| answer.json()["label"].as_u64().expect("a label")).collect();

    assert!(answers.iter().all(|answer| answer.version == version));
    assert_eq!(labels, heldout.predictions, "what Python predicted when the model was trained");
    assert_eq!(labels, python_predicts(), "what Python predicts now");
    let right = labels.iter().zip(&heldout.labels).filter(|(label, truth)| label == truth).count();
    let accuracy = right as f64 / labels.len() as f64;
    say(&format!("heldout: digits {version}: {right} of {} right, accuracy {accuracy:.4}", labels.len()));
    assert!(accuracy >= ACCURACY, "accuracy {accuracy}");
    for worker in &workers {
        assert!(worker.metric("inferbus_messages_total{") > 0.0, "both workers took part");
    }
}

/// Runs the same file through Python's onnxruntime.
fn python_predicts() -> Vec<u64> {
    let folder = root().join("plugins/examples/digits/model");
    let mut reference = python("reference.py");
    reference.arg("--model").arg(folder.join("digits.onnx")).arg("--records").arg(folder.join("heldout.bin"));
    serde_json::from_value(run(&mut reference).json()).expect("a list of labels")
}
