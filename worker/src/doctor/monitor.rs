//! Reads the monitoring endpoint of a nats-server.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::facts::Disk;
use crate::limits;

#[derive(Deserialize)]
struct Varz {
    jetstream: JetStream,
}

#[derive(Deserialize)]
struct JetStream {
    config: Option<Config>,
}

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    sync_always: bool,
    #[serde(default)]
    sync_interval: u64,
}

/// The disk settings from `http://host:port/varz`.
pub async fn disk(address: &str, timeout: Duration) -> anyhow::Result<Disk> {
    let response = tokio::time::timeout(timeout, get(address, "/varz")).await;
    let body = response.with_context(|| format!("{address} did not answer within {timeout:?}"))??;
    let varz: Varz =
        serde_json::from_slice(&body).with_context(|| format!("{address}/varz is not an answer of nats-server"))?;
    let config = varz.jetstream.config.with_context(|| format!("the server at {address} runs without JetStream"))?;
    Ok(Disk { sync_always: config.sync_always, sync_seconds: Duration::from_nanos(config.sync_interval).as_secs() })
}

/// The body of one response. With HTTP/1.0 the server closes the connection after it and does not send chunks.
async fn get(address: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let Some(host) = address.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')) else {
        bail!("`{address}` is not an address like http://127.0.0.1:8222");
    };
    let mut stream = TcpStream::connect(host).await.with_context(|| format!("{address} cannot be reached"))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(limits::MONITOR_BYTES).read_to_end(&mut answer).await?;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .with_context(|| format!("{address} does not answer in HTTP"))?;
    if !answer.starts_with(b"HTTP/1.") || answer.get(8..12) != Some(b" 200") {
        bail!(
            "{address}{path} answered: {}",
            String::from_utf8_lossy(&answer[..end]).lines().next().unwrap_or_default()
        );
    }
    Ok(answer.split_off(end + 4))
}
