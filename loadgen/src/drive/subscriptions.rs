//! The subscriptions of a run.

use std::time::Duration;

use async_nats::{Client, Subscriber};
use futures_util::StreamExt as _;

use crate::fault::BenchFault;
use crate::headers::DEAD_LETTER_PREFIX;
use crate::limits;
use crate::settings::Setup;

pub enum Subscription {
    /// Replies, or publish acks of a stream.
    Inbox(Subscriber),
    Results(Subscriber),
    DeadLetters(Subscriber),
}

/// Subscribes, and waits until the servers have processed all subscriptions.
pub async fn subscribe(setup: &Setup, inboxes: &[String]) -> Result<Vec<Subscription>, BenchFault> {
    let mut subscriptions = Vec::new();
    for (client, inbox) in setup.clients.iter().zip(inboxes) {
        subscriptions.push(Subscription::Inbox(to(client, format!("{inbox}.*")).await?));
    }
    if let (Some(stream), Some(client)) = (&setup.stream, setup.clients.first()) {
        subscriptions.push(Subscription::Results(to(client, stream.results.clone()).await?));
        let letters = match &stream.route {
            Some(route) => format!("{DEAD_LETTER_PREFIX}.{route}.*"),
            None => format!("{DEAD_LETTER_PREFIX}.>"),
        };
        subscriptions.push(Subscription::DeadLetters(to(client, letters).await?));
    }
    for client in &setup.clients {
        if !round_trip(client, limits::SUBSCRIBE).await {
            return Err(BenchFault::Silent);
        }
    }
    Ok(subscriptions)
}

async fn to(client: &Client, subject: String) -> Result<Subscriber, BenchFault> {
    let fault = |fault: async_nats::SubscribeError| fault.to_string();
    client.subscribe(subject.clone()).await.map_err(|error| BenchFault::Subscribe { subject, reason: fault(error) })
}

/// Whether the server returned a message to us within the bound. A flush would only empty the client's buffer.
async fn round_trip(client: &Client, bound: Duration) -> bool {
    let echoed = async {
        let inbox = client.new_inbox();
        let mut echo = client.subscribe(inbox.clone()).await.ok()?;
        client.publish(inbox, "".into()).await.ok()?;
        echo.next().await
    };
    matches!(tokio::time::timeout(bound, echoed).await, Ok(Some(_)))
}
