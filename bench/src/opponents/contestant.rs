//! The compared processes, started by their documentation.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::project::root;

pub struct Contestant {
    pub name: &'static str,
    pub subject: &'static str,
    /// Whether answers are results or echoed payloads.
    pub classifies: bool,
    pub child: Child,
    /// A separate crash journal: a shared one would count messages in flight in other killed workers.
    pub _state: Option<TempDir>,
}

/// The common arguments of all worker programs.
pub fn worker_arguments(server: &str) -> [&str; 4] {
    ["--server", server, "--admin", "127.0.0.1:0"]
}

const READY: Duration = Duration::from_secs(60);

/// `inferbus`, built beside this program.
pub fn inferbus() -> anyhow::Result<Command> {
    let here = std::env::current_exe()?;
    let program = here.with_file_name("inferbus");
    if !program.exists() {
        bail!("{} is missing: `make bench` builds it", program.display());
    }
    Ok(Command::new(program))
}

/// The status of a server's only worker.
pub async fn status(server: &str) -> anyhow::Result<Value> {
    let printed = inferbus()?.args(["status", "--output", "json"]).env("NATS_URL", server).output().await?;
    let workers: Vec<Value> = serde_json::from_slice(&printed.stdout)?;
    let [worker] = <[Value; 1]>::try_from(workers).map_err(|all| anyhow!("{} workers instead of one", all.len()))?;
    Ok(worker)
}

pub async fn push(server: &str, version: &str, activate: bool) -> anyhow::Result<()> {
    let folder = root().join(format!("plugins/examples/digits/bundle-{version}"));
    let mut push = inferbus()?;
    push.arg("push").arg(folder).args(activate.then_some("--activate")).env("NATS_URL", server).stdout(Stdio::null());
    anyhow::ensure!(push.status().await?.success(), "version {version} cannot be pushed");
    Ok(())
}

impl Contestant {
    pub async fn worker(server: &str) -> anyhow::Result<Self> {
        let mut command = inferbus()?;
        command.arg("worker").args(worker_arguments(server));
        Self::spawn_worker("inferbus", "infer.digits", &mut command).await
    }

    /// A worker with native pre and post.
    pub async fn native(server: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("native-worker").args(worker_arguments(server)).args(["--prefix", "native"]);
        Self::spawn_worker("native", "native.digits", &mut command).await
    }

    pub async fn python(server: &str) -> anyhow::Result<Self> {
        let python = root().join(".tools/venv/bin/python");
        let model = root().join("plugins/examples/digits/model/digits.onnx");
        let mut command = Command::new(&python);
        command.arg(root().join("bench/peers/one_file_worker.py")).args([server, "peer.digits"]).arg(model);
        // numpy's threads would spin, at a cost.
        command.env("OPENBLAS_NUM_THREADS", "1");
        Self::spawn("python", "peer.digits", true, &mut command, &python).await
    }

    pub async fn echo(server: &str) -> anyhow::Result<Self> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(&program);
        command.args(["echo", server, "echo.digits"]);
        Self::spawn("echo", "echo.digits", false, &mut command, &program).await
    }

    /// Starts a program with a worker's log.
    pub async fn spawn_worker(
        name: &'static str,
        subject: &'static str,
        command: &mut Command,
    ) -> anyhow::Result<Self> {
        let state = tempfile::tempdir_in(root().join("target"))?;
        command.env("INFERBUS_CRASH_JOURNAL", state.path());
        let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
        let log = child.stderr.take().context("the worker's log")?;
        drain(wait_for(log, "worker accepts requests").await?);
        Ok(Self { name, subject, classifies: true, child, _state: Some(state) })
    }

    /// Starts a program that prints `ready`.
    pub async fn spawn(
        name: &'static str,
        subject: &'static str,
        classifies: bool,
        command: &mut Command,
        program: &Path,
    ) -> anyhow::Result<Self> {
        let spawned = command.stdout(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = spawned.with_context(|| format!("{} cannot be started", program.display()))?;
        let output = child.stdout.take().context("the program's output")?;
        drain(wait_for(output, "ready").await?);
        Ok(Self { name, subject, classifies, child, _state: None })
    }

    pub fn process(&self) -> anyhow::Result<u32> {
        self.child.id().with_context(|| format!("{} has ended", self.name))
    }

    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Waits for a line, and returns the rest of the output.
pub async fn wait_for<R: AsyncRead + Unpin>(output: R, text: &str) -> anyhow::Result<Lines<BufReader<R>>> {
    let mut lines = BufReader::new(output).lines();
    let found = async {
        while let Some(line) = lines.next_line().await? {
            if line.contains(text) {
                return Ok(());
            }
        }
        bail!("the program ended before it printed `{text}`")
    };
    tokio::time::timeout(READY, found).await.with_context(|| format!("`{text}` was not printed in time"))??;
    Ok(lines)
}

/// Keeps reading: a full pipe would block the writer.
fn drain(mut lines: Lines<BufReader<impl AsyncRead + Unpin + Send + 'static>>) {
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
}
