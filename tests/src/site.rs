//! A server with a catalog: the base of most tests.

use async_nats::jetstream;
use async_nats::{Client, ConnectOptions};
use inferbus::dev_server::{DevServer, Settings};
use inferbus_catalog::{Activate, Catalog, PushOptions};

use crate::BundleFolder;
use crate::PATIENCE;
use crate::Ran;
use crate::Worker;
use crate::WorkerOptions;
use crate::digits;
use crate::inferbus;

/// The two shipped versions of the digit classifier.
pub const FIRST: &str = "1.0.0";
pub const SECOND: &str = "1.1.0";

pub struct Site {
    pub server: DevServer,
    /// A publisher's and consumer's connection.
    pub client: Client,
    pub catalog: Catalog,
}

impl Site {
    pub async fn start() -> Self {
        Self::start_with(Settings::default()).await
    }

    pub async fn start_with(settings: Settings<'_>) -> Self {
        let server = DevServer::start(settings).await.expect("a server");
        let client = connect(server.url()).await;
        let catalog = Catalog::create(client.clone()).await.expect("a catalog");
        Self { server, client, catalog }
    }

    /// With both versions of the digit classifier, the first of them active.
    pub async fn with_digits() -> Self {
        let site = Self::start().await;
        site.push_digits();
        site
    }

    pub fn push_digits(&self) {
        for (version, more) in [(FIRST, Some("--activate")), (SECOND, None)] {
            let folder = digits(version);
            let mut arguments = vec!["push", folder.to_str().expect("UTF-8")];
            arguments.extend(more);
            self.inferbus(&arguments).ok();
        }
    }

    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Runs the command against this server.
    pub fn inferbus(&self, arguments: &[&str]) -> Ran {
        inferbus(self.url(), arguments)
    }

    /// Starts one worker for each name, and waits until all take messages.
    pub fn workers<const COUNT: usize>(&self, names: [&str; COUNT]) -> [Worker; COUNT] {
        names
            .map(|name| Worker::start_with(self.url(), WorkerOptions { name: Some(name.into()), ..Default::default() }))
    }

    /// A plain put, as any client of NATS can do it.
    pub async fn put(&self, bucket: &str, key: &str, value: &str) {
        let bucket = jetstream::new(self.client.clone()).get_key_value(bucket).await.expect("the bucket");
        bucket.put(key, value.to_owned().into()).await.expect("a revision");
    }

    /// Pushes a bundle and activates it.
    pub async fn activate(&self, folder: &BundleFolder) {
        let bundle = folder.read();
        self.catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await.unwrap_or_else(|fault| panic!("{fault}"));
        let activated = self.catalog.activate(&bundle.name, &bundle.version, Activate::default()).await;
        activated.unwrap_or_else(|fault| panic!("{fault}"));
    }
}

/// Connects as a publisher; its requests wait up to the bound of every wait.
pub async fn connect(url: &str) -> Client {
    ConnectOptions::new().request_timeout(Some(PATIENCE)).connect(url).await.expect("a connection")
}
