//! The acknowledgements of a delivery: done, terminated, retry later, in progress.
//!
//! Guarantees: "done" and "terminated" are sent as requests. They count only after the server's empty answer; "no
//! responders" is not an answer.

use std::time::Duration;

use async_nats::{Client, Request, Subject};
use bytes::Bytes;

use crate::limits;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const TERM: Bytes = Bytes::from_static(b"+TERM");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// Acknowledges the message and waits for the server's confirmation.
pub async fn ack(client: &Client, ack: Subject) -> Result<(), String> {
    checked(client, ack, ACK).await
}

/// [`ack`] without the server's confirmation, for a benchmark.
pub async fn ack_unconfirmed(client: &Client, ack: Subject) -> Result<(), String> {
    client.publish(ack, ACK).await.map_err(|fault| fault.to_string())
}

/// Ends redelivery of the message and waits for the server's confirmation.
pub async fn term(client: &Client, ack: Subject) -> Result<(), String> {
    checked(client, ack, TERM).await
}

async fn checked(client: &Client, ack: Subject, word: Bytes) -> Result<(), String> {
    let request = Request::new().payload(word).timeout(Some(limits::CONFIRM));
    let answer = client.send_request(ack, request).await.map_err(|fault| fault.to_string())?;
    match answer.status {
        None if answer.payload.is_empty() => Ok(()),
        status => Err(format!("the server answered {status:?} {}", String::from_utf8_lossy(&answer.payload))),
    }
}

/// Requests redelivery after a pause. If this is lost, the ack wait causes redelivery.
pub async fn nak(client: &Client, ack: Subject, pause: Duration) {
    let word = format!("-NAK {{\"delay\":{}}}", pause.as_nanos());
    let _ = client.publish(ack, word.into()).await;
}

/// An in-progress ack.
pub async fn in_progress(client: &Client, ack: Subject) {
    let _ = client.publish(ack, IN_PROGRESS).await;
}
