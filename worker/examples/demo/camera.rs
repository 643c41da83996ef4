//! The camera: payloads in its private format, at a constant rate.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use tokio::time::{Interval, MissedTickBehavior};

/// One payload, and its pixels for the terminal.
#[derive(Clone)]
pub struct Picture {
    pub payload: Bytes,
    pub width: usize,
    pub pixels: Bytes,
}

/// The sensor's header: magic, version, flags, width, height, sequence, checksum.
const HEADER: usize = 16;

/// Reads a file of concatenated records.
pub fn load(file: &Path) -> anyhow::Result<Vec<Picture>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read the pictures {}", file.display()))?;
    let mut rest = Bytes::from(bytes);
    let mut pictures = Vec::new();
    while rest.len() > HEADER {
        let side = |at: usize| usize::from(u16::from_le_bytes([rest[at], rest[at + 1]]));
        let (width, height) = (side(6), side(8));
        let len = HEADER + width * height;
        anyhow::ensure!(rest.len() >= len, "{} ends within a record", file.display());
        let payload = rest.split_to(len);
        pictures.push(Picture { pixels: payload.slice(HEADER..), payload, width });
    }
    anyhow::ensure!(!pictures.is_empty(), "{} does not contain pictures", file.display());
    Ok(pictures)
}

pub struct Camera {
    pictures: Vec<Picture>,
    next: usize,
    pace: Interval,
}

impl Camera {
    pub fn new(pictures: Vec<Picture>, rate: u32) -> Self {
        let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.max(1));
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self { pictures, next: 0, pace }
    }

    pub async fn next(&mut self) -> Picture {
        self.pace.tick().await;
        let picture = self.pictures[self.next % self.pictures.len()].clone();
        self.next += 1;
        picture
    }
}
