//! One nats-server process with ports and a store, to kill, stop and restart.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use inferbus::dev_server::SERVER_PROGRAM;

use crate::http;

/// Below the ports of outgoing connections: none of these can take the port of a stopped server.
const PORTS: std::ops::Range<u16> = 10_240..32_000;

/// A free port outside the range of automatic ports.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(977) % u32::from(PORTS.end - PORTS.start);
    for _ in PORTS {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + ((begin + step) % u32::from(PORTS.end - PORTS.start)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// The ports of a node, the same after a restart.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    pub client: u16,
    pub monitoring: u16,
    pub cluster: u16,
}

impl Ports {
    pub fn free() -> Self {
        Self { client: free_port(), monitoring: free_port(), cluster: free_port() }
    }
}

/// The configuration of a server beyond its name, addresses and store.
#[derive(Clone, Debug, Default)]
pub struct NodeConfig {
    /// Inside the block `jetstream`, for example `max_file_store: 1MB`.
    pub jetstream: String,
    /// At the top.
    pub more: String,
}

pub struct Node {
    pub name: String,
    pub ports: Ports,
    /// The folder of its store; configuration and log are beside it.
    store: PathBuf,
    child: Option<Child>,
}

impl Node {
    pub fn new(name: &str, ports: Ports, folder: &Path, config: &NodeConfig) -> Self {
        let node = Self { name: name.into(), ports, store: folder.join(name), child: None };
        node.configure(config);
        node
    }

    /// Writes the configuration for the next `start` or `reload`.
    pub fn configure(&self, config: &NodeConfig) {
        let Self { name, ports, store, .. } = self;
        let Ports { client, monitoring, .. } = ports;
        let (log, store) = (self.log(), store.display());
        let NodeConfig { jetstream, more } = config;
        let text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitoring}\"\n\
             log_file: \"{}\"\njetstream {{\n store_dir: \"{store}\"\n {jetstream}\n}}\n{more}\n",
            log.display()
        );
        std::fs::write(self.config(), text).expect("the configuration");
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.ports.client)
    }

    /// Starts the process without waiting for it.
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "{} is running already", self.name);
        let program = std::env::var_os(SERVER_PROGRAM).unwrap_or_else(|| "nats-server".into());
        let mut command = Command::new(program);
        command.arg("--config").arg(self.config()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("nats-server starts: run `make setup`"));
    }

    /// Whether the server listens and considers its stored data complete and current.
    pub fn is_healthy(&self) -> bool {
        http::get(&self.monitoring(), "/healthz").is_ok_and(|(code, _)| code == 200)
    }

    /// Requests to JetStream's API since the server started.
    pub fn api_requests(&self) -> u64 {
        let (_, text) = http::get(&self.monitoring(), "/jsz").expect("the server's figures");
        let figures: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        figures["api"]["total"].as_u64().unwrap_or_default()
    }

    fn monitoring(&self) -> String {
        format!("127.0.0.1:{}", self.ports.monitoring)
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("the server is killed");
            child.wait().expect("the server is reaped");
        }
    }

    /// Ends the process as an operator does, and waits for its end.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        if let Some(mut child) = self.child.take() {
            child.wait().expect("the server ends");
        }
    }

    /// Has the server read its configuration again.
    pub fn reload(&self) {
        self.signal("-HUP");
    }

    fn signal(&self, signal: &str) {
        let child = self.child.as_ref().expect("the server runs");
        let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "{} is gone already:\n{}", self.name, self.log_text());
    }

    fn config(&self) -> PathBuf {
        self.store.with_extension("conf")
    }

    fn log(&self) -> PathBuf {
        self.store.with_extension("log")
    }

    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
