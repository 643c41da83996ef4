//! The server's cost of a request, by the size of the queue group, and of an idle connection.

use std::time::Instant;

use anyhow::ensure;
use async_nats::Client;
use bytes::Bytes;
use futures_util::future::try_join_all;
use futures_util::{StreamExt as _, stream};
use tokio::task::JoinHandle;

use super::site::Site;

const SUBJECT: &str = "shared.model";
const GROUP: &str = "inferbus";
const PAYLOAD: usize = 784;
const REQUESTS: usize = 20_000;
const IN_FLIGHT: usize = 64;
/// Connections opened at the same time.
const AT_ONCE: usize = 32;

/// The server's microseconds for one request and its answer, by members of the group.
pub async fn request(site: &Site, members: usize) -> anyhow::Result<f64> {
    let url = site.url()?.to_owned();
    let members = try_join_all((0..members).map(|_| member(&url))).await?;
    ask(&site.client, REQUESTS / 10).await?;
    let before = site.reading().await?;
    ask(&site.client, REQUESTS).await?;
    let spent = site.reading().await? - before;
    for member in &members {
        member.abort();
    }
    let cost = spent.server_cpu * 1e6 / REQUESTS as f64;
    eprintln!("{} members of a group: {cost:.1} µs of the server per request", members.len());
    Ok(cost)
}

/// A worker that echoes requests.
async fn member(url: &str) -> anyhow::Result<JoinHandle<()>> {
    let client = async_nats::connect(url).await?;
    let mut requests = client.queue_subscribe(SUBJECT, GROUP.into()).await?;
    client.flush().await?;
    Ok(tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let Some(reply) = request.reply else { continue };
            if client.publish(reply, request.payload).await.is_err() {
                return;
            }
        }
    }))
}

async fn ask(client: &Client, requests: usize) -> anyhow::Result<()> {
    let payload = Bytes::from(vec![7; PAYLOAD]);
    let mut answers =
        stream::iter(0..requests).map(|_| client.request(SUBJECT, payload.clone())).buffer_unordered(IN_FLIGHT);
    while let Some(answer) = answers.next().await {
        ensure!(answer?.payload == payload, "a wrong answer");
    }
    Ok(())
}

/// The server's bytes per connection with one subscription, and seconds until all are open.
pub async fn connections(site: &Site, count: usize) -> anyhow::Result<(f64, f64)> {
    let (url, before) = (site.url()?.to_owned(), site.server_memory()?);
    let began = Instant::now();
    let connections = stream::iter(0..count).map(|number| {
        let url = url.clone();
        async move {
            let client = async_nats::connect(url).await?;
            let commands = client.subscribe(format!("device.{number}.command")).await?;
            client.flush().await?;
            anyhow::Ok((client, commands))
        }
    });
    let open: Vec<_> = connections.buffer_unordered(AT_ONCE).collect().await;
    let open: anyhow::Result<Vec<_>> = open.into_iter().collect();
    let (open, took) = (open?, began.elapsed().as_secs_f64());
    let each = (site.server_memory()? - before).max(0.0) / open.len() as f64;
    eprintln!("{count} connections after {took:.2} s: {:.1} KB of the server per connection", each / 1e3);
    Ok((each, took))
}
