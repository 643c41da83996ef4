//! A private nats-server as a child process: for `inferbus dev`, the demo and the tests.
//!
//! Promises: it listens on loopback only, and it ends with its owner, also when that panics.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::limits;

/// Where the server's program is, if it is not on the PATH.
pub const SERVER_PROGRAM: &str = "INFERBUS_NATS_SERVER";

/// What a server may be told; the defaults are a free port and a store of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings<'a> {
    /// 0 takes a free one.
    pub port: u16,
    /// Where JetStream keeps its files [default: a temporary folder that goes with the server].
    pub store: Option<&'a Path>,
    /// A configuration file of the server's own.
    pub config: Option<&'a Path>,
    /// Names that the configuration reads from the environment, with their values.
    pub environment: &'a [(String, String)],
    /// Keep Ctrl-C in the owner's terminal from the server, which is then ended when its owner is done with it.
    pub shielded: bool,
}

pub struct DevServer {
    url: String,
    /// Where it can be monitored, if its configuration says so.
    monitor: Option<String>,
    child: Child,
    folder: PathBuf,
    /// Removed when dropped, after the child has been told to end.
    _temporary: Option<TempDir>,
}

impl DevServer {
    /// Starts a server with JetStream and waits until it listens.
    pub async fn start(settings: Settings<'_>) -> anyhow::Result<Self> {
        let temporary = match settings.store {
            Some(_) => None,
            None => Some(tempfile::tempdir().context("a temporary folder cannot be made: is the disk full?")?),
        };
        let own = temporary.as_ref().map(TempDir::path);
        let folder = settings.store.or(own).unwrap_or(Path::new(".")).to_path_buf();
        std::fs::create_dir_all(&folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
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
                    "{} cannot be started: run `make setup`, install nats-server, or name it in {SERVER_PROGRAM}",
                    Path::new(&program).display()
                )
            })?;
        let mut server = Self { url: String::new(), monitor: None, child, folder, _temporary: temporary };
        (server.url, server.monitor) = tokio::time::timeout(limits::SERVER_START, server.ready(&program))
            .await
            .context("nats-server did not come up in time")??;
        Ok(server)
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn monitor(&self) -> Option<&str> {
        self.monitor.as_deref()
    }

    /// The server's process, while it runs.
    pub fn process(&self) -> Option<u32> {
        self.child.id()
    }

    /// The server writes its ports to a file named after its program and process once it listens.
    async fn ready(&mut self, program: &std::ffi::OsStr) -> anyhow::Result<(String, Option<String>)> {
        let name = Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned();
        let ports = self.folder.join(format!("{name}_{}.ports", self.child.id().unwrap_or_default()));
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
        loop {
            tick.tick().await;
            if let Some(status) = self.child.try_wait()? {
                bail!("nats-server ended at once ({status}): {}", self.last_words().await);
            }
            let Ok(text) = std::fs::read_to_string(&ports) else { continue };
            let Ok(ports) = serde_json::from_str::<serde_json::Value>(&text) else { continue };
            if let Some(url) = ports["nats"][0].as_str() {
                return Ok((url.to_owned(), ports["monitoring"][0].as_str().map(ToOwned::to_owned)));
            }
        }
    }

    /// A server that cannot begin says why in its log, or on standard error while it has no log yet.
    async fn last_words(&mut self) -> String {
        let log = std::fs::read_to_string(self.folder.join("nats-server.log")).unwrap_or_default();
        let mut errors = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            // What cannot be read is not said.
            let _ = stderr.read_to_string(&mut errors).await;
        }
        let logged = log.lines().rev().find(|line| line.contains("[FTL]") || line.contains("[ERR]"));
        let said = logged.or_else(|| errors.lines().rev().find(|line| !line.trim().is_empty()));
        said.unwrap_or("no reason given").to_owned()
    }

    pub async fn stop(mut self) {
        // A server that has already ended is what was wanted.
        let _ = self.child.kill().await;
    }
}
