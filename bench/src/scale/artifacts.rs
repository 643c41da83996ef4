//! The fetch of one model by many workers at once, from the Object Store.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use futures_util::future::try_join_all;
use inferbus_catalog::{Artifact, Bundle, PushOptions, Version};

use super::fleet::{Fleet, Times};
use super::monitor::Spent;
use super::site::Site;
use crate::workloads::models;

const BIG: &str = "big";
/// Four layers of 256 KiB.
const WIDTHS: [usize; 5] = [256; 5];

pub struct Fetch {
    pub planes: usize,
    pub bytes: f64,
    pub times: Times,
    pub spent: Spent,
}

/// Stores a network without serving it.
pub async fn store(site: &Site) -> anyhow::Result<Artifact> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("model.onnx"), models::mlp(&WIDTHS, 1))?;
    let manifest = format!("model = \"{BIG}\"\nversion = \"1.0.0\"\nnetwork = \"model.onnx\"\n");
    std::fs::write(folder.path().join("bundle.toml"), manifest)?;
    let bundle = Bundle::read(folder.path())?;
    site.catalog.push(&bundle, PushOptions::default(), &mut |_| {}).await?;
    let (entry, ..) = site.catalog.entry(&BIG.parse()?, &Version::new(1, 0, 0)).await?;
    Ok(entry.model)
}

/// Every plane reads the artifact like a worker with an empty cache. Digests are verified.
pub async fn measure(site: &Site, fleet: &Fleet, artifact: Artifact) -> anyhow::Result<Fetch> {
    let before = site.reading().await?;
    let began = Instant::now();
    let reads = fleet.planes.iter().map(|plane| {
        let catalog = plane.catalog.clone();
        tokio::spawn(async move {
            let bytes = catalog.artifact(&artifact).await?;
            ensure!(bytes.len() as u64 == artifact.size, "the size of the artifact differs");
            anyhow::Ok(Instant::now())
        })
    });
    let read: anyhow::Result<Vec<Instant>> = try_join_all(reads).await?.into_iter().collect();
    let times = Times::since(began, read.context("an artifact was not read")?);
    let spent = site.reading().await? - before;
    let fetch = Fetch { planes: fleet.planes.len(), bytes: artifact.size as f64, times, spent };
    eprintln!(
        "{} planes fetch {:.2} MB: the last after {:.2} s, {:.1} MB sent by the server",
        fetch.planes,
        fetch.bytes / 1e6,
        fetch.times.last(),
        spent.sent_bytes / 1e6
    );
    Ok(fetch)
}
