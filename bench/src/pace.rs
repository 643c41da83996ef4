//! An open loop: requests are due at a steady rate, whatever became of those before.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;

/// Requests that are due and not yet taken by the load; a round has fewer, so the pace never waits for the load.
const WAITING: usize = 1 << 20;

/// Yields each request's number and the moment when it was due. A thread keeps the pace, because a runtime's timers are too coarse.
pub fn at(rate: f64, requests: usize) -> impl Stream<Item = (usize, Instant)> {
    let requests = requests.min(WAITING);
    let (told, due) = mpsc::channel(requests.max(1));
    thread::spawn(move || {
        let started = Instant::now();
        for number in 0..requests {
            let moment = started + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            if told.blocking_send((number, moment)).is_err() {
                return;
            }
        }
    });
    stream::unfold(due, |mut due| async { due.recv().await.map(|next| (next, due)) })
}
