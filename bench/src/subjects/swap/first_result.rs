//! The duration of a version bump under load, from the put to the first result of the new version.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use async_nats::jetstream::kv::Store;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;

use super::latencies::version_of;
use crate::load::{Load, label_of};
use crate::opponents::contestant::Contestant;
use crate::paper::figure::Figure;

const VERSIONS: [&str; 2] = ["1.1.0", "1.0.0"];

struct Traffic<'a> {
    load: &'a Load,
    worker: &'a Contestant,
    over: AtomicBool,
    answered: AtomicUsize,
    /// Late answers to requests from before the last put are ignored.
    puts: AtomicUsize,
    /// The version of the newest answer.
    version: watch::Sender<String>,
}

/// Alternates two versions under load. Any error ends the measurement.
pub async fn measure(load: &Load, worker: &Contestant, bumps: usize) -> anyhow::Result<Figure> {
    let jetstream = async_nats::jetstream::new(load.client.clone());
    let models = jetstream.get_key_value("models").await.context("the bucket `models`")?;
    let traffic = Traffic {
        load,
        worker,
        over: AtomicBool::new(false),
        answered: AtomicUsize::new(0),
        puts: AtomicUsize::new(0),
        version: watch::channel(String::new()).0,
    };
    let ((), times) = tokio::try_join!(traffic.run(), traffic.swap(&models, bumps))?;
    let answered = traffic.answered.load(Ordering::Relaxed);
    eprintln!("{bumps} version bumps under {answered} requests: none lost, none failed");
    Ok(Figure::of("swap.first_result_ms", "ms from put to first result", times))
}

impl Traffic<'_> {
    async fn run(&self) -> anyhow::Result<()> {
        let answers = stream::iter(0..)
            .take_while(|_| std::future::ready(!self.over.load(Ordering::Relaxed)))
            .map(|number| self.request(number))
            .buffer_unordered(self.load.in_flight);
        tokio::pin!(answers);
        while let Some(answer) = answers.next().await {
            answer?;
        }
        Ok(())
    }

    async fn request(&self, number: usize) -> anyhow::Result<()> {
        let sent_after = self.puts.load(Ordering::Relaxed);
        let (payload, label) = self.load.payload(number);
        let reply = self.load.client.request(self.worker.subject, payload).await?;
        anyhow::ensure!(label_of(&reply)? == label, "a wrong answer during a swap");
        let version = version_of(&reply).unwrap_or_default();
        self.answered.fetch_add(1, Ordering::Relaxed);
        self.version.send_if_modified(|last| {
            let is_new = *last != version && sent_after == self.puts.load(Ordering::Relaxed);
            if is_new {
                *last = version;
            }
            is_new
        });
        Ok(())
    }

    /// Returns milliseconds per bump.
    async fn swap(&self, models: &Store, bumps: usize) -> anyhow::Result<Vec<f64>> {
        let (mut times, mut seen) = (Vec::new(), self.version.subscribe());
        for number in 0..bumps {
            let version = VERSIONS[number % VERSIONS.len()];
            let started = Instant::now();
            self.puts.fetch_add(1, Ordering::Relaxed);
            self.version.send_replace(String::new());
            models.put("digits", version.into()).await?;
            seen.wait_for(|last| last == version).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        self.over.store(true, Ordering::Relaxed);
        Ok(times)
    }
}
