//! A server with one small model, and requests to it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use async_nats::Client;
use bytes::Bytes;
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::Catalog;

use crate::load::{Load, Round, label_of, result_of};
use crate::workloads::variants;

/// The model of the curves about something else.
pub(super) const MODEL: &str = "m00000";

/// A server with one small model, and a client.
pub(super) async fn site() -> anyhow::Result<(DevServer, Client, Catalog)> {
    let server = DevServer::start(Settings::default()).await?;
    let client = async_nats::connect(server.url()).await?;
    let catalog = Catalog::create(client.clone()).await?;
    variants::push_many(&catalog, 0..1).await?;
    Ok((server, client, catalog))
}

/// Requests the small model on a subject, and checks the answer.
pub(super) async fn ask(load: &Load, subject: &str, number: usize) -> anyhow::Result<Duration> {
    let (payload, label) = load.payload(number);
    let (reply, latency) = timed(&load.client, subject, payload).await?;
    ensure!(label_of(&reply)? == label, "{subject} gave a wrong answer to request {number}");
    Ok(latency)
}

pub(super) async fn timed(
    client: &Client,
    subject: &str,
    payload: Bytes,
) -> anyhow::Result<(async_nats::Message, Duration)> {
    let started = Instant::now();
    let reply = client.request(subject.to_owned(), payload).await?;
    let latency = started.elapsed();
    result_of(&reply)?;
    Ok((reply, latency))
}

/// A round of requests to a worker's small model.
pub(super) async fn round(
    load: &Load,
    process: u32,
    subject: &str,
    requests: usize,
    in_flight: usize,
) -> anyhow::Result<Round> {
    Round::run(process, requests, in_flight, |number| ask(load, subject, number)).await
}
