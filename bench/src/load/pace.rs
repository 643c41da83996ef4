//! An open loop: requests are due at a steady rate, independent of answers.

use std::thread;
use std::time::{Duration, Instant};

use futures_util::stream::{self, Stream};
use tokio::sync::mpsc;

/// The buffer of due requests. Rounds are smaller, so the pace never waits for the load.
const WAITING: usize = 1 << 20;

/// Yields the number and the due time of each request. A thread keeps the pace: the runtime's timers are too coarse.
pub fn at(rate: f64, requests: usize) -> impl Stream<Item = (usize, Instant)> {
    let requests = requests.min(WAITING);
    let (sender, due) = mpsc::channel(requests.max(1));
    thread::spawn(move || {
        let started = Instant::now();
        for number in 0..requests {
            let moment = started + Duration::from_secs_f64(number as f64 / rate);
            thread::sleep(moment.saturating_duration_since(Instant::now()));
            if sender.blocking_send((number, moment)).is_err() {
                return;
            }
        }
    });
    stream::unfold(due, |mut due| async { due.recv().await.map(|next| (next, due)) })
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn requests_follow_the_rate_and_are_never_early() {
        let mut paced = std::pin::pin!(at(1000.0, 20));
        let mut first = None;
        for expected in 0..20 {
            let (number, due) = paced.next().await.unwrap();
            assert!(due <= Instant::now(), "request {number} is early");
            let first = *first.get_or_insert(due);
            assert_eq!((number, due - first), (expected, Duration::from_millis(expected as u64)));
        }
        assert!(paced.next().await.is_none(), "the schedule ends");
    }
}
