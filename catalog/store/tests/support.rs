//! A real nats-server for each test, a bundle to push, and a bound on every wait.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::{self, kv, object_store, stream};
use inferbus_catalog::{Bundle, Catalog, CatalogFault, ModelName, Progress, PushOptions, Pushed, Version};
use tempfile::TempDir;

/// Far longer than any wait without a hang.
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    let done = tokio::time::timeout(PATIENCE, future).await;
    done.unwrap_or_else(|_| panic!("still waiting after {PATIENCE:?}: {what}"))
}

pub struct Server {
    child: Child,
    folder: TempDir,
    pub port: u16,
}

impl Server {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, port) = spawn(folder.path(), "-1");
        Self { child, folder, port }
    }

    pub async fn connect(&self) -> Client {
        soon("connecting", async_nats::connect(format!("127.0.0.1:{}", self.port))).await.unwrap()
    }

    pub async fn catalog(&self) -> (Catalog, Client) {
        let client = self.connect().await;
        (Catalog::create(client.clone()).await.unwrap(), client)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Restarts on the same port, with its stored data.
    pub fn restart(&mut self) {
        self.child = spawn(self.folder.path(), &self.port.to_string()).0;
    }

    /// The stored data, while the server does not run.
    pub fn copy(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        let from = format!("{}/.", self.folder.path().display());
        assert!(Command::new("cp").args(["-a", &from]).arg(copy.path()).status().unwrap().success());
        copy
    }

    /// Restarts on the same port, with the data of the copy.
    pub fn restart_from(&mut self, copy: TempDir) {
        self.folder = copy;
        self.restart();
    }

    /// Restarts on the same port, without data.
    pub fn restart_empty(&mut self) {
        self.folder = tempfile::tempdir().unwrap();
        self.restart();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test may have killed it already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server prints its port and its readiness, so no wait depends on time.
fn spawn(folder: &Path, port: &str) -> (Child, u16) {
    let program = std::env::var("INFERBUS_NATS_SERVER").unwrap_or_else(|_| "nats-server".to_owned());
    let mut child = Command::new(&program)
        .args(["-a", "127.0.0.1", "-p", port, "-js", "-sd"])
        .arg(folder)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}; set INFERBUS_NATS_SERVER to its path"));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let (mut listening, mut said) = (None, Vec::new());
    for line in lines.by_ref().map(Result::unwrap) {
        if let Some((_, port)) = line.split_once("Listening for client connections on 127.0.0.1:") {
            listening = port.trim().parse().ok();
        }
        if line.contains("Server is ready") {
            std::thread::spawn(move || lines.for_each(drop));
            return (child, listening.unwrap());
        }
        said.push(line);
    }
    let _ = child.wait();
    panic!("nats-server ended: {said:#?}");
}

pub fn name(text: &str) -> ModelName {
    text.parse().unwrap()
}

pub fn version(text: &str) -> Version {
    inferbus_catalog::parse_version(text).unwrap()
}

/// A bundle with three files of the given contents.
pub fn bundle(name: &str, version: &str, model: &[u8], pre: &[u8], post: &[u8]) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let manifest = format!(
        "model = {name:?}\nversion = {version:?}\nnetwork = \"model.onnx\"\n\
         [pre]\nwasm = \"pre.wasm\"\ngrants = [\"log\"]\n[post]\nwasm = \"post.wasm\"\n"
    );
    for (file, bytes) in
        [("bundle.toml", manifest.as_bytes()), ("model.onnx", model), ("pre.wasm", pre), ("post.wasm", post)]
    {
        std::fs::write(folder.path().join(file), bytes).unwrap();
    }
    Bundle::read(folder.path()).unwrap()
}

/// A bundle with a model of several chunks.
pub fn digits(version: &str) -> Bundle {
    let model: Vec<u8> = (0..300_000u32).flat_map(|index| index.to_le_bytes()).collect();
    bundle("digits", version, &model, format!("pre {version}").as_bytes(), b"post")
}

pub async fn push(catalog: &Catalog, bundle: &Bundle) -> Result<Pushed, CatalogFault> {
    soon("a push", catalog.push(bundle, PushOptions::default(), &mut |_: Progress| {})).await
}

pub async fn models_bucket(client: &Client) -> kv::Store {
    jetstream::new(client.clone()).get_key_value("models").await.unwrap()
}

pub async fn artifacts_stream(client: &Client) -> stream::Stream {
    jetstream::new(client.clone()).get_stream("OBJ_artifacts").await.unwrap()
}

pub async fn object_store(client: &Client) -> object_store::ObjectStore {
    jetstream::new(client.clone()).get_object_store("artifacts").await.unwrap()
}

/// Writes an object's metadata unchanged, past every check of a client.
pub async fn put_meta(client: &Client, object: &str, meta: &serde_json::Value) {
    use base64::Engine;
    let subject = format!("$O.artifacts.M.{}", base64::engine::general_purpose::URL_SAFE.encode(object));
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Rollup", "sub");
    let jetstream = jetstream::new(client.clone());
    jetstream.publish_with_headers(subject, headers, meta.to_string().into()).await.unwrap().await.unwrap();
}
