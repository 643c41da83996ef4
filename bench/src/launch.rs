//! How long a worker takes from the start of its process until /readyz says that it is ready.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::Child;

use crate::contestant::{inferbus, worker_arguments};
use crate::process;

/// Between two questions.
const ASK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(1800);
/// Memory has settled when so many looks in a row saw the same, but for this much. A worker gives back every second what is
/// free.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 15;
const SAME: u64 = 1 << 20;

pub struct Launched {
    child: Child,
    /// From the start to ready.
    pub ready: Duration,
}

impl Launched {
    /// Starts a worker and waits until it is ready.
    pub async fn start(server: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let state = tempfile::tempdir()?;
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(server)).args(arguments).args(["--log-format", "json"]);
        command.env("INFERBUS_STATE", state.path()).stderr(Stdio::piped()).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn()?;
        let log = child.stderr.take().context("the worker's log")?;
        let ready = async {
            let address = admin_address(log).await?;
            while !is_ready(&address).await? {
                tokio::time::sleep(ASK).await;
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

    /// Resident bytes, once they no longer change.
    pub async fn resident(&self) -> anyhow::Result<u64> {
        let (started, process) = (Instant::now(), self.process()?);
        let (mut last, mut same) = (process::resident(process)?, 0);
        while same < LOOKS {
            ensure!(started.elapsed() < PATIENCE, "the worker's memory does not settle");
            tokio::time::sleep(LOOK).await;
            let now = process::resident(process)?;
            same = if now.abs_diff(last) < SAME { same + 1 } else { 0 };
            last = now;
        }
        Ok(last)
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// As the log says it. What comes after is read, so that the worker never waits to write, and thrown away.
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
    anyhow::bail!("the worker ended before it said where it serves its health")
}

async fn is_ready(address: &str) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}
