//! A private nats-server as a child process: for `inferbus dev`, the demo and the tests.
//!
//! Guarantees: the server listens on loopback only, and stops with its owner, even after a panic.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::limits;

/// The environment variable with the path of nats-server. The default is `nats-server` on the PATH.
pub const SERVER_PROGRAM: &str = "INFERBUS_NATS_SERVER";

/// The settings of a server. By default it takes a free port and a temporary store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// The port, or 0 for any free one.
    pub port: u16,
    /// The folder of JetStream's files [default: a temporary folder].
    pub store: Option<&'a Path>,
    /// A configuration file.
    pub config: Option<&'a Path>,
    /// Environment variables used by the configuration file.
    pub environment: &'a [(String, String)],
    /// Protect the server from Ctrl-C in the owner's terminal: the owner stops it.
    pub shielded: bool,
}

pub struct DevServer {
    url: String,
    /// The monitoring address, if configured.
    monitor: Option<String>,
    child: Child,
    folder: PathBuf,
    /// Dropped after the child is killed.
    _temporary: Option<TempDir>,
}

impl DevServer {
    /// Starts a server with JetStream and waits until it listens.
    pub async fn start(settings: Settings<'_>) -> anyhow::Result<Self> {
        let temporary = match settings.store {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("cannot create a temporary folder: is the disk full?")?),
        };
        let own = temporary.as_ref().map(TempDir::path);
        let folder = settings.store.or(own).unwrap_or(Path::new(".")).to_path_buf();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let program = std::env::var_os(SERVER_PROGRAM).unwrap_or_else(|| "nats-server".into());
        let port = if settings.port == 0 { "-1".to_owned() } else { settings.port.to_string() };
        let mut command = Command::new(&program);
        if let Some(config) = settings.config {
            command.arg("--config").arg(config);
        }
        if settings.shielded {
            command.process_group(0);
        }
        let child = command
            .envs(settings.environment.iter().cloned())
            .args(["--addr", "127.0.0.1", "--port", &port, "--jetstream", "--store_dir"])
            .arg(&folder)
            .arg("--ports_file_dir")
            .arg(&folder)
            .arg("--log")
            .arg(folder.join("nats-server.log"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}: run `make setup`, install nats-server, or set {SERVER_PROGRAM}",
                    Path::new(&program).display()
                )
            })?;
        let mut server = Self { url: String::new(), monitor: None, child, folder, _temporary: temporary };
        (server.url, server.monitor) = tokio::time::timeout(limits::SERVER_START, server.ready(&program))
            .await
            .context("nats-server did not start in time")??;
        Ok(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn monitor(&self) -> Option<&str> {
        self.monitor.as_deref()
    }

    /// The process id of the running server.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the ports file: the server writes it once it listens.
    async fn ready(&mut self, program: &std::ffi::OsStr) -> anyhow::Result<(String, Option<String>)> {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let ports = self.folder.join(format!("{name}_{}.ports", self.child.id().unwrap_or_default()));
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            tick.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("nats-server exited at once ({status}): {}", self.error_text().await);
            }
            let Ok(text) = std::fs::read_to_string(&ports) else { continue };
            let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            if let Some(url) = ports["nats"][0].as_str() {
                return Ok((url.to_owned(), ports["monitoring"][0].as_str().map(ToOwned::to_owned)));
            }
        }
    }

    /// The reason of a failed start, from the log or from standard error.
    async fn error_text(&mut self) -> String {
        let log = std::fs::read_to_string(self.folder.join("nats-server.log")).unwrap_or_default();
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // Without readable output the text stays empty.
            let _ = stderr.read_to_string(&mut errors).await;
        }
        let logged = log.lines().rev().find(|line| line.contains("[FTL]") || line.contains("[ERR]"));
        let text = logged.or_else(|| errors.lines().rev().find(|line| !line.trim().is_empty()));
        text.unwrap_or("no reason given").to_owned()
    }

    pub async fn stop(mut self) {
        // An error means: already stopped.
        let _ = self.child.kill().await;
    }
}
