//! Real nats-servers to kill and restart: a single one, or a JetStream cluster of three.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions};
use tempfile::TempDir;

use crate::PATIENCE;
use crate::node::{Node, NodeConfig, Ports};
use crate::pause;

pub struct Cluster {
    nodes: Vec<Node>,
    /// Removed when dropped, after the nodes have been killed.
    _folder: TempDir,
}

impl Cluster {
    /// One server with a configuration.
    pub async fn single(config: &NodeConfig) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let nodes = vec![Node::new("n0", Ports::free(), folder.path(), config)];
        Self { nodes, _folder: folder }.started().await
    }

    /// Three servers with elected leaders and replicas. They do not advertise each other, so a worker behind a proxy
    /// cannot bypass it.
    pub async fn three() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let ports = [Ports::free(), Ports::free(), Ports::free()];
        let routes = ports.map(|ports| format!("\"nats-route://127.0.0.1:{}\"", ports.cluster)).join(", ");
        let node = |(at, ports): (usize, Ports)| {
            let listen = ports.cluster;
            let cluster = format!(
                "cluster {{ name: chaos, listen: \"127.0.0.1:{listen}\", routes: [{routes}], no_advertise: true }}"
            );
            let config = NodeConfig { more: cluster, ..NodeConfig::default() };
            Node::new(&format!("n{at}"), ports, folder.path(), &config)
        };
        let nodes = ports.into_iter().enumerate().map(node).collect();
        Self { nodes, _folder: folder }.started().await
    }

    async fn started(mut self) -> Self {
        self.nodes.iter_mut().for_each(Node::start);
        self.healthy().await;
        self
    }

    /// The addresses of all nodes, as `--server` takes them.
    pub fn url(&self) -> String {
        self.nodes.iter().map(Node::url).collect::<Vec<_>>().join(",")
    }

    pub fn replicas(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    /// Waits until every running node reports health and current data.
    pub async fn healthy(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(ill) = self.nodes.iter().find(|node| node.is_running() && !node.is_healthy()) {
            assert!(Instant::now() < deadline, "{} does not become healthy; its log:\n{}", ill.name, ill.log_text());
            pause().await;
        }
    }

    pub fn kill(&mut self, at: usize) {
        self.nodes[at].kill();
    }

    /// Restarts a node and waits until all are healthy; returns the time taken.
    pub async fn start(&mut self, at: usize) -> Duration {
        let begun = Instant::now();
        self.nodes[at].start();
        self.healthy().await;
        begun.elapsed()
    }

    /// Stops and starts each node in turn, as an upgrade does.
    pub async fn rolling_restart(&mut self) {
        for at in 0..self.nodes.len() {
            tokio::task::block_in_place(|| self.nodes[at].stop());
            self.start(at).await;
        }
    }

    /// The leader of a stream; without a cluster, the only node.
    pub async fn leader(&self, client: &Client, stream: &str) -> usize {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let info =
                jetstream::new(client.clone()).get_stream(stream).await.map(|stream| stream.cached_info().clone());
            match info.map(|info| info.cluster.map(|cluster| cluster.leader)) {
                Ok(None) => return 0,
                Ok(Some(Some(leader))) => {
                    return self.nodes.iter().position(|node| node.name == leader).expect("a node of this cluster");
                }
                _ => pause().await,
            }
            assert!(Instant::now() < deadline, "{stream} does not have a leader");
        }
    }

    /// A connection to all nodes; it survives their restarts.
    pub async fn client(&self) -> Client {
        connect(&self.url()).await
    }
}

/// How long one request of the harness waits: short, because it is asked again.
const REQUEST: Duration = Duration::from_secs(3);

async fn connect(urls: &str) -> Client {
    let servers: Vec<&str> = urls.split(',').collect();
    let options = ConnectOptions::new()
        .request_timeout(Some(REQUEST))
        .max_reconnects(None)
        .reconnect_delay_callback(|_| Duration::from_millis(100))
        .ping_interval(REQUEST);
    options.connect(servers).await.expect("a connection")
}
