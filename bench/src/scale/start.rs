//! What the start of many planes takes: time, what the server sends for it, processor time and memory.

use super::fleet::{Fleet, Times};
use super::monitor::Spent;
use super::site::Site;
use crate::process;

/// One start of so many planes with so many keys.
pub struct Start {
    pub planes: usize,
    pub keys: usize,
    pub times: Times,
    pub spent: Spent,
    /// Resident bytes of the server, and how many more of this process there are for each plane.
    pub server_memory: f64,
    pub plane_memory: f64,
}

/// Starts a fleet and says what it took.
pub async fn measure(site: &mut Site, planes: usize, keys: usize) -> anyhow::Result<(Fleet, Start)> {
    site.grow(keys).await?;
    let own = process::resident(std::process::id())? as f64;
    let before = site.reading().await?;
    let (fleet, times) = Fleet::start(site, planes).await?;
    let spent = site.reading().await? - before;
    let plane_memory = (process::resident(std::process::id())? as f64 - own).max(0.0) / planes as f64;
    let start = Start { planes, keys, times, spent, server_memory: site.server_memory()?, plane_memory };
    eprintln!(
        "{planes} planes, {keys} keys: complete after {:.2} s (first {:.2}, median {:.2}), the server sent {:.1} MB in {:.0} messages",
        start.times.last(),
        start.times.first(),
        start.times.median(),
        spent.sent_bytes / 1e6,
        spent.sent
    );
    Ok((fleet, start))
}

impl Start {
    /// What each plane took of something.
    pub fn each(&self, all: f64) -> f64 {
        all / self.planes as f64
    }
}
