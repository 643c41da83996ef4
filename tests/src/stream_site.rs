//! The base of the chaos tests: servers, the catalog with the sensor's bundle, a stream, its route and its publisher.

use std::sync::Arc;

use async_nats::Client;
use async_nats::jetstream;
use inferbus_catalog::{Activate, Catalog, PushOptions};

use crate::BundleFolder;
use crate::FIRST;
use crate::PATIENCE;
use crate::cluster::Cluster;
use crate::inferbus;
use crate::node::NodeConfig;
use crate::publisher::{INPUT, OUTPUT, Publisher, ROUTE, SUBJECTS};
use crate::sensor_bundle::{SENSOR, sensor};

pub struct StreamSite {
    pub cluster: Cluster,
    pub client: Client,
    pub publisher: Arc<Publisher>,
    /// The digest of the first version.
    pub first: String,
}

impl StreamSite {
    /// On one server; `flags` are further ones of `inferbus route add`.
    pub async fn single(flags: &[&str]) -> Self {
        Self::on(Cluster::single(&NodeConfig::default()).await, flags).await
    }

    /// On three servers, with three copies of everything.
    pub async fn three(flags: &[&str]) -> Self {
        Self::on(Cluster::three().await, flags).await
    }

    pub async fn on(cluster: Cluster, flags: &[&str]) -> Self {
        let client = cluster.client().await;
        let catalog = Catalog::create(client.clone()).await.expect("a catalog");
        let context = jetstream::new(client.clone());
        for bucket in ["KV_models", "KV_routes", "OBJ_artifacts"] {
            let stream = context.get_stream(bucket).await.expect("the bucket");
            let mut config = stream.cached_info().config.clone();
            config.num_replicas = cluster.replicas();
            context.update_stream(config).await.expect("as many copies as there are servers");
            cluster.leader(&client, bucket).await;
        }
        cluster.healthy().await;
        let first = push(&catalog, FIRST, true).await;
        let publisher = Publisher::open(client.clone(), cluster.replicas()).await;
        let site = Self { cluster, client, publisher, first };
        site.add_route(flags);
        site.cluster.healthy().await;
        site
    }

    pub fn add_route(&self, flags: &[&str]) {
        let route = ["route", "add", "--name", ROUTE, "--stream", INPUT, "--subject", SUBJECTS];
        let rest = ["--model", SENSOR, "--output", OUTPUT, "--timeout", &format!("{}s", PATIENCE.as_secs())];
        let arguments: Vec<&str> = route.into_iter().chain(rest).chain(flags.iter().copied()).collect();
        inferbus(&self.cluster.url(), &arguments).ok();
    }

    pub fn url(&self) -> String {
        self.cluster.url()
    }
}

/// Pushes a version of the sensor's bundle; returns its digest, different for each version.
pub async fn push(catalog: &Catalog, version: &str, activate: bool) -> String {
    let folder = sensor(version).table(&format!("[labels]\nversion = \"{version}\""));
    push_folder(catalog, &folder, activate).await
}

pub async fn push_folder(catalog: &Catalog, folder: &BundleFolder, activate: bool) -> String {
    let bundle = folder.read();
    let pushed = catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await;
    let pushed = pushed.unwrap_or_else(|fault| panic!("{fault}"));
    if activate {
        let activated = catalog.activate(&bundle.name, &bundle.version, Activate::default()).await;
        activated.unwrap_or_else(|fault| panic!("{fault}"));
    }
    pushed.digest.to_string()
}
