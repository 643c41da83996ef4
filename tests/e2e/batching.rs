//! Messages sharing a run of the model, over NATS: each keeps its own result, error and time.

use std::time::Duration;

use async_nats::{HeaderMap, Request};
use bytes::Bytes;
use futures_util::future::join_all;
use inferbus::nats::headers::TIMEOUT;
use inferbus_abi::frame::{DataType, Frame};

use inferbus_tests::plugin::frame;
use inferbus_tests::{Answer, BundleFolder, FIRST, SECOND, Site, Worker, answer, until};
use tokio::task::block_in_place;

/// A run begins with the eighth message: the patience is longer than any test.
const EIGHT: &str = "[engine]\nbatch = { max = 8, min = 8, max_delay = \"60s\" }";

fn rows(numbers: &[f32]) -> Bytes {
    let data: Vec<u8> = numbers.iter().flat_map(|number| [number.to_le_bytes(); 4]).flatten().collect();
    frame("x", DataType::F32, &[numbers.len() as u64, 4], &data).into()
}

/// The first number of each row of a result.
fn numbers(answer: &Answer) -> Vec<f32> {
    assert_eq!(answer.code, None, "{}", answer.error);
    let frame = Frame::decode(&answer.payload).expect("a frame");
    let output = frame.tensors().next().expect("an output");
    let all: Vec<_> = output.data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    all.into_iter().step_by(4).collect()
}

async fn ask(site: &Site, subject: &str, payload: Bytes, timeout: Option<&str>) -> Answer {
    let mut headers = HeaderMap::new();
    if let Some(timeout) = timeout {
        headers.insert(TIMEOUT, timeout);
    }
    let request = Request::new().payload(payload).headers(headers).timeout(Some(Duration::from_secs(30)));
    answer(site.client.send_request(subject.to_owned(), request).await.expect("a reply"))
}

async fn serving(engine: &str) -> (Site, Worker) {
    let site = Site::start().await;
    site.activate(&BundleFolder::new("echo", FIRST).table(engine)).await;
    let worker = block_in_place(|| Worker::start(site.url()));
    (site, worker)
}

/// How often the model ran, and for how many messages in all.
fn runs(worker: &Worker) -> (f64, f64) {
    block_in_place(|| (worker.metric("inferbus_batch_messages_count"), worker.metric("inferbus_batch_messages_sum")))
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_wait_share_a_run_and_get_their_own_rows() {
    let (site, worker) = serving(EIGHT).await;
    let asked: Vec<Vec<f32>> = (0..8).map(|n| (0..=n % 3).map(|row| (n * 10 + row) as f32).collect()).collect();
    let answers = join_all(asked.iter().map(|numbers| ask(&site, "infer.echo", rows(numbers), None))).await;
    assert_eq!(answers.iter().map(numbers).collect::<Vec<_>>(), asked);
    assert_eq!(runs(&worker), (1.0, 8.0));
    let status: serde_json::Value = serde_json::from_str(&block_in_place(|| worker.get("/status").1)).expect("JSON");
    assert_eq!(status["models"][0]["messages_per_run"], 8.0);
    assert!(
        block_in_place(|| worker.metric("inferbus_wait_seconds_count{model=\"echo\",version=\"1.0.0\",wait=\"batch\"}"))
            > 0.0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_bad_message_and_one_late_one_leave_the_others_alone() {
    let (site, worker) = serving(EIGHT).await;
    let bad = Bytes::from(frame("x", DataType::F32, &[1, 3], &[0; 12]));
    let asks = (0..8).map(|n| match n {
        2 => ask(&site, "infer.echo", bad.clone(), None),
        5 => ask(&site, "infer.echo", rows(&[5.0]), Some("1us")),
        n => ask(&site, "infer.echo", rows(&[n as f32]), Some("60s")),
    });
    for (n, answer) in join_all(asks).await.iter().enumerate() {
        match n {
            2 => assert!(answer.code == Some(400) && answer.error.contains("[1, 3]"), "{answer:?}"),
            5 => assert!(answer.code == Some(408) && answer.error.contains("not computed"), "{answer:?}"),
            n => assert_eq!(numbers(answer), [n as f32]),
        }
    }
    assert_eq!(runs(&worker), (1.0, 6.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_that_cannot_be_read_is_said() {
    let (site, _worker) = serving("").await;
    let answer = ask(&site, "infer.echo", rows(&[1.0]), Some("soon")).await;
    assert!(
        answer.code == Some(400) && answer.error.contains("Inferbus-Timeout") && answer.error.contains("soon"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_of_high_priority_overtakes_what_waits_and_shares_no_run_with_it() {
    let (site, worker) = serving(EIGHT).await;
    block_in_place(|| {
        site.inferbus(&["route", "add", "--subject", "urgent", "--model", "echo", "--priority", "high"]).ok();
        worker.wait_until("the route", |line| line["message"] == "route started" && line["subject"] == "urgent");
    });
    let waiting = join_all((0..7).map(|n| ask(&site, "infer.echo", rows(&[n as f32]), None)));
    let urgent = async {
        block_in_place(|| until("seven wait", || worker.metric("inferbus_in_flight_messages") == 7.0));
        assert_eq!(numbers(&ask(&site, "urgent", rows(&[99.0]), None).await), [99.0]);
        assert_eq!(runs(&worker), (1.0, 1.0), "nothing that waits was run with it");
        assert_eq!(numbers(&ask(&site, "infer.echo", rows(&[7.0]), None).await), [7.0]);
    };
    let (answers, ()) = futures_util::join!(waiting, urgent);
    assert_eq!(answers.iter().flat_map(numbers).collect::<Vec<_>>(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(runs(&worker), (2.0, 9.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_lets_what_waits_for_company_finish_on_the_old_version() {
    let (site, worker) = serving(EIGHT).await;
    let waiting = join_all((0..7).map(|n| ask(&site, "infer.echo", rows(&[n as f32]), None)));
    let swap = async {
        block_in_place(|| until("seven wait", || worker.metric("inferbus_in_flight_messages") == 7.0));
        site.activate(&BundleFolder::new("echo", SECOND)).await;
        block_in_place(|| {
            worker.wait_until("the swap", |line| line["message"] == "in service" && line["version"] == SECOND)
        });
        assert_eq!(ask(&site, "infer.echo", rows(&[1.0]), None).await.version, SECOND);
        block_in_place(|| worker.terminate());
    };
    let (answers, ()) = futures_util::join!(waiting, swap);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!((numbers(answer), answer.version.as_str()), (vec![n as f32], FIRST));
    }
    assert_eq!(block_in_place(|| worker.end()), Some(0));
}
