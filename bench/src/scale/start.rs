//! The start of many planes: time, sent bytes, processor time and memory.

use super::fleet::{Fleet, Times};
use super::monitor::Spent;
use super::site::Site;
use crate::machine::process;

/// One start of a fleet.
pub struct Start {
    pub planes: usize,
    pub keys: usize,
    pub times: Times,
    pub spent: Spent,
    /// Resident bytes of the server, and of this process per plane.
    pub server_memory: f64,
    pub plane_memory: f64,
}

/// Starts a fleet, and returns its cost.
pub async fn measure(site: &mut Site, planes: usize, keys: usize) -> anyhow::Result<(Fleet, Start)> {
    site.grow(keys).await?;
    let own = process::resident(std::process::id())? as f64;
    let before = site.reading().await?;
    let (fleet, times) = Fleet::start(site, planes).await?;
    let spent = site.reading().await? - before;
    let plane_memory = (process::resident(std::process::id())? as f64 - own).max(0.0) / planes as f64;
    let start = Start { planes, keys, times, spent, server_memory: site.server_memory()?, plane_memory };
    eprintln!(
        "{planes} planes, {keys} keys: complete after {:.2} s (first {:.2}, median {:.2}), {:.1} MB sent by the server \
         in {:.0} messages",
        start.times.last(),
        start.times.first(),
        start.times.median(),
        spent.sent_bytes / 1e6,
        spent.sent
    );
    Ok((fleet, start))
}

impl Start {
    /// A total divided by the number of planes.
    pub fn each(&self, all: f64) -> f64 {
        all / self.planes as f64
    }
}
