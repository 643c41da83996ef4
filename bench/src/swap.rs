//! How long a version bump takes under load: from the put to the first result on the new version.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;

use crate::contestant::Contestant;
use crate::figures::Figure;
use crate::load::{Load, label_of};

const VERSIONS: [&str; 2] = ["1.1.0", "1.0.0"];

/// Bumps back and forth while requests flow; any error ends the measurement.
pub async fn measure(load: &Load, worker: &Contestant, bumps: usize) -> anyhow::Result<Figure> {
    let jetstream = async_nats::jetstream::new(load.client.clone());
    let models = jetstream.get_key_value("models").await.context("the bucket `models`")?;
    let (answered_by, mut seen) = watch::channel(String::new());
    let over = AtomicBool::new(false);
    let requests = AtomicUsize::new(0);
    // A late answer to a request from before the put must not pass for the first one after it.
    let puts = AtomicUsize::new(0);
    let traffic = stream::iter(0..)
        .take_while(|_| std::future::ready(!over.load(Ordering::Relaxed)))
        .map(|number| {
            let sent_after = puts.load(Ordering::Relaxed);
            async move { (number, sent_after, load.client.request(worker.subject, load.payload(number).0).await) }
        })
        .buffer_unordered(load.in_flight)
        .map(|(number, sent_after, reply)| {
            let reply = reply?;
            anyhow::ensure!(label_of(&reply)? == load.payload(number).1, "a wrong answer during a swap");
            let version = reply.headers.as_ref().and_then(|headers| headers.get("Inferbus-Version"));
            let version = version.map(ToString::to_string).unwrap_or_default();
            requests.fetch_add(1, Ordering::Relaxed);
            answered_by.send_if_modified(|last| {
                let is_news = *last != version && sent_after == puts.load(Ordering::Relaxed);
                if is_news {
                    *last = version;
                }
                is_news
            });
            anyhow::Ok(())
        });
    let traffic = async {
        tokio::pin!(traffic);
        while let Some(answer) = traffic.next().await {
            answer?;
        }
        anyhow::Ok(())
    };
    let swaps = async {
        let mut times = Vec::new();
        for number in 0..bumps {
            let version = VERSIONS[number % VERSIONS.len()];
            let started = Instant::now();
            puts.fetch_add(1, Ordering::Relaxed);
            answered_by.send_replace(String::new());
            models.put("digits", version.into()).await?;
            seen.wait_for(|last| last == version).await?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
        over.store(true, Ordering::Relaxed);
        anyhow::Ok(times)
    };
    let ((), times) = tokio::try_join!(traffic, swaps)?;
    eprintln!("{bumps} version bumps under {} requests: none lost, none failed", requests.load(Ordering::Relaxed));
    Ok(Figure::of("swap.first_result_ms", "ms from put to first result", times))
}
