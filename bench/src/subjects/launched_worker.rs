//! A started worker, and the time from the start of its process to a successful /readyz.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::machine::process::settled_resident;
use crate::opponents::contestant::{inferbus, worker_arguments};

/// The interval of readiness checks.
const RETRY: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(1800);
pub struct LaunchedWorker {
    child: Child,
    /// The time from start to ready.
    pub ready: Duration,
}

impl LaunchedWorker {
    /// Starts a worker and waits until it is ready.
    pub async fn start(server: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(server)).args(arguments).args(["--log-format", "json"]);
        command.env("INFERBUS_CRASH_JOURNAL", state.path()).stderr(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let log = child.stderr.take().context("the worker's log")?;
        let ready = async {
            let address = admin_address(log).await?;
            while !is_ready(&address).await? {
                tokio::time::sleep(RETRY).await;
            }
            anyhow::Ok(started.elapsed())
        };
        let ready =
            tokio::time::timeout(PATIENCE, ready).await.context("the worker did not become ready in time")??;
        Ok(Self { child, ready })
    }

    pub fn process(&self) -> anyhow::Result<u32> {
        self.child.id().context("the worker has ended")
    }

    /// The resident bytes, once they are stable.
    pub async fn resident(&self) -> anyhow::Result<u64> {
        settled_resident(self.process()?, PATIENCE).await
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Reads the admin address from the log. The rest of the log is discarded: a full pipe would block the worker.
async fn admin_address(log: tokio::process::ChildStderr) -> anyhow::Result<String> {
    let mut lines = BufReader::new(log).lines();
    while let Some(line) = lines.next_line().await? {
        let Ok(line) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
        if let Some(address) = line["address"].as_str() {
            let address = address.to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(address);
        }
    }
    anyhow::bail!("the worker ended before it logged its admin address")
}

async fn is_ready(address: &str) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
