//! The server and the workers as real processes, and the commands of an operator.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use async_nats::Client;
use inferbus::dev_server::{DevServer, Settings};
use tokio::process::{Child, Command};

pub struct Fleet {
    url: String,
    server: Option<DevServer>,
    workers: Vec<Child>,
}

/// The time limit for the workers to become ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// The time limit for a worker to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

pub fn log_folder() -> PathBuf {
    root().join("target/demo")
}

fn log(text: &str) {
    println!("demo: {text}");
}

impl Fleet {
    /// Uses the given server, or starts a private one.
    pub async fn server(url: Option<&str>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(log_folder()).context("cannot create target/demo")?;
        let server = match url {
            Some(_) => None,
            None => Some(DevServer::start(Settings::default()).await?),
        };
        let url = url.or(server.as_ref().map(DevServer::url)).unwrap_or_default().to_owned();
        let kind = if server.is_some() { "a private nats-server with JetStream" } else { "your nats-server" };
        log(&format!("{kind} at {url}"));
        Ok(Self { url, server, workers: Vec::new() })
    }

    pub async fn client(&self) -> anyhow::Result<Client> {
        async_nats::connect(&self.url).await.with_context(|| format!("cannot reach NATS at {}", self.url))
    }

    /// `inferbus push FOLDER [--activate]`
    pub async fn push(&self, version: &str, activate: bool) -> anyhow::Result<()> {
        let folder = root().join(format!("plugins/examples/digits/bundle-{version}"));
        let mut push = self.inferbus()?;
        push.arg("push").arg(&folder).arg("--force");
        if activate {
            push.arg("--activate");
        }
        let output = push.output().await.context("cannot start inferbus push")?;
        if !output.status.success() {
            bail!("inferbus push {}: {}", folder.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            log(line);
        }
        Ok(())
    }

    /// Starts workers and waits until all are ready.
    pub async fn workers(&mut self, count: usize) -> anyhow::Result<()> {
        log(&format!("starting {count} workers in one queue group"));
        for number in 1..=count {
            let log = std::fs::File::create(log_folder().join(format!("worker-{number}.log")))
                .context("cannot create a worker's log")?;
            let mut worker = self.inferbus()?;
            worker.args(["worker", "--admin", "127.0.0.1:0", "--worker-name", &format!("worker-{number}")]);
            self.workers.push(worker.stderr(log).kill_on_drop(true).spawn().context("cannot start a worker")?);
        }
        tokio::time::timeout(READY_TIMEOUT, self.ready(count)).await.with_context(|| {
            format!("the workers were not ready in time; their logs are in {}", log_folder().display())
        })?
    }

    async fn ready(&mut self, count: usize) -> anyhow::Result<()> {
        loop {
            for worker in &mut self.workers {
                if let Some(status) = worker.try_wait()? {
                    bail!("a worker exited ({status}); the logs are in {}", log_folder().display());
                }
            }
            let status = self.inferbus()?.args(["status", "--output", "json"]).output().await?;
            let workers: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            let ready =
                workers.as_array().map_or(0, |workers| workers.iter().filter(|worker| worker["ready"] == true).count());
            if ready >= count {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Activates a version by a plain KV put, as any NATS client can.
    pub async fn activate(&self, version: &str) -> anyhow::Result<()> {
        let jetstream = async_nats::jetstream::new(self.client().await?);
        let models = jetstream.get_key_value("models").await.context("cannot open the bucket `models`")?;
        models.put("digits", version.to_owned().into()).await.context("cannot put the version")?;
        Ok(())
    }

    /// Stops the workers with SIGTERM, then the server.
    pub async fn stop(mut self) {
        for worker in &self.workers {
            if let Some(id) = worker.id() {
                let _ = Command::new("kill").args(["-TERM", &id.to_string()]).status().await;
            }
        }
        for worker in &mut self.workers {
            let _ = tokio::time::timeout(STOP_TIMEOUT, worker.wait()).await;
        }
        if let Some(server) = self.server {
            server.stop().await;
        }
    }

    fn inferbus(&self) -> anyhow::Result<Command> {
        let here = std::env::current_exe().context("cannot find the path of the demo")?;
        // target/<profile>/examples/demo → target/<profile>/inferbus
        let program = here.parent().and_then(Path::parent).map(|folder| folder.join("inferbus")).unwrap_or_default();
        if !program.exists() {
            bail!("{} is missing: build it with `make demo`", program.display());
        }
        let mut command = Command::new(program);
        if self.server.is_some() {
            // Ignore the user's settings for other servers.
            for name in
                ["NATS_CONTEXT", "NATS_USER", "NATS_PASSWORD", "NATS_TOKEN", "NATS_CREDS", "NATS_NKEY", "NATS_CA"]
            {
                command.env_remove(name);
            }
        }
        command.env("NATS_URL", &self.url).stdin(Stdio::null());
        Ok(command)
    }
}
