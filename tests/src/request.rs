//! A device's side: sensor payloads, and requests with an answer for each.

use async_nats::{Client, HeaderMap};
use bytes::Bytes;
use inferbus::nats::headers::{ERROR, ERROR_CODE};

use crate::root;

/// The held-out digits: payloads in the sensor's format, and the predictions of Python's onnxruntime.
pub struct Heldout {
    pub payloads: Vec<Bytes>,
    pub labels: Vec<u64>,
    pub predictions: Vec<u64>,
}

/// The sensor's header before the pixels; plugins/examples/digits/README.md describes it.
const HEADER: usize = 16;

pub fn heldout() -> Heldout {
    let folder = root().join("plugins/examples/digits/model");
    let records = std::fs::read(folder.join("heldout.bin")).expect("the held-out records");
    let answers = std::fs::read(folder.join("heldout.json")).expect("the held-out answers");
    let answers: serde_json::Value = serde_json::from_slice(&answers).expect("JSON");
    let numbers =
        |key: &str| answers[key].as_array().expect(key).iter().map(|n| n.as_u64().expect(key)).collect::<Vec<_>>();
    let (mut rest, mut payloads) = (Bytes::from(records), Vec::new());
    while !rest.is_empty() {
        let side = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let len = HEADER + side(6) * side(8);
        payloads.push(rest.split_to(len));
    }
    let heldout = Heldout { payloads, labels: numbers("labels"), predictions: numbers("predictions") };
    assert!(heldout.payloads.len() == heldout.labels.len() && heldout.labels.len() == heldout.predictions.len());
    heldout
}

/// A reply, taken apart.
#[derive(Clone, Debug)]
pub struct Answer {
    pub code: Option<u16>,
    pub error: String,
    pub version: String,
    pub digest: String,
    pub stage: String,
    pub headers: HeaderMap,
    pub payload: Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, None, "{}", self.error);
        serde_json::from_slice(&self.payload).expect("a JSON result")
    }
}

/// Sends one request and waits for its answer; no answer at all fails the test.
pub async fn ask(client: &Client, subject: &str, payload: Bytes) -> Answer {
    let reply = client
        .request(subject.to_owned(), payload)
        .await
        .unwrap_or_else(|fault| panic!("no reply on {subject}: {fault}"));
    answer(reply)
}

pub fn answer(reply: async_nats::Message) -> Answer {
    let headers = reply.headers.unwrap_or_default();
    let text = |name: &str| headers.get(name).map(ToString::to_string).unwrap_or_default();
    Answer {
        code: headers.get(ERROR_CODE).map(|code| code.as_str().parse().expect("a numeric code")),
        error: text(ERROR),
        version: text("Inferbus-Version"),
        digest: text("Inferbus-Digest"),
        stage: text("Inferbus-Stage"),
        payload: reply.payload,
        headers,
    }
}
